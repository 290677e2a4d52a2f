//! Execs: what to run in a sandbox, and how it ended.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::id::{ExecId, SandboxId};

/// A program to run in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecSpec {
    /// Names this execution.
    pub id: ExecId,
    /// What to run.
    pub program: ExecProgram,
    /// Added to the environment of the image.
    pub env: Vec<(String, String)>,
    /// Where to start; the image's working directory when absent.
    pub workdir: Option<String>,
    /// After this the program and all that it started are ended.
    pub timeout: Option<Duration>,
    /// Between asking the program to end and making it.
    pub grace: Duration,
    /// After the program has ended, how long output of its children is still waited for.
    pub drain: Duration,
    /// How many bytes of each output stream are kept for those who follow it later.
    pub ring_bytes: u32,
    /// Whether the caller will send standard input; otherwise it reads as empty.
    pub stdin: bool,
    /// Whether the program is ended when the caller goes away.
    pub kill_on_disconnect: bool,
    /// Whether nobody follows its output as it comes: it is kept for those who ask later.
    pub detached: bool,
    /// The terminal it gets, if any: one merged output, standard input always open.
    pub tty: Option<TtySize>,
    /// The user it runs as, by name or number; the image's when absent.
    pub user: Option<String>,
}

/// The size of a terminal in character cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TtySize {
    /// Characters in a line.
    pub cols: u16,
    /// Lines.
    pub rows: u16,
}

/// How a command is to be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecProgram {
    /// One line for `/bin/sh -c`.
    Shell(String),
    /// A program and its arguments, no shell anywhere; never empty.
    Argv(Vec<String>),
}

impl ExecProgram {
    /// A shell line of `command` and `args`, each argument quoted so that the shell passes it on
    /// unchanged.
    pub fn shell(command: &str, args: &[String]) -> Self {
        let mut line = command.to_owned();
        for arg in args {
            line.push_str(" '");
            line.push_str(&arg.replace('\'', r"'\''"));
            line.push('\'');
        }
        Self::Shell(line)
    }
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It called exit with this code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
    /// It ran over its timeout and was ended with everything it had started.
    TimedOut,
    /// The kernel ended it for want of memory.
    OomKilled,
    /// It was ended because somebody asked.
    Canceled,
    /// Its sandbox ended or could not be reached again.
    SandboxLost,
    /// It never ran.
    StartFailed(StartFailure, String),
}

/// Why a program never ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFailure {
    /// No such program.
    NotFound,
    /// The program may not be executed, or is of an unknown format.
    NotExecutable,
    /// The working directory does not exist or may not be entered.
    BadWorkdir,
    /// The sandbox has no such user, or it may not be used.
    BadUser,
    /// No process, memory or descriptor was left for it.
    Resources,
    /// Anything else.
    Other,
}

impl StartFailure {
    const ALL: [Self; 6] = [
        Self::NotFound,
        Self::NotExecutable,
        Self::BadWorkdir,
        Self::BadUser,
        Self::Resources,
        Self::Other,
    ];

    /// The failure's word, in the store and on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::NotExecutable => "not_executable",
            Self::BadWorkdir => "bad_workdir",
            Self::BadUser => "bad_user",
            Self::Resources => "resources",
            Self::Other => "other",
        }
    }

    /// The failure of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|failure| failure.word() == word)
    }
}

impl Outcome {
    /// The outcome of that [`word`](Self::word) and [`exit_code`](Self::exit_code), with what is
    /// known about a program that never ran.
    pub fn from_parts(
        word: &str,
        exit_code: i32,
        failure: Option<(StartFailure, String)>,
    ) -> Option<Self> {
        Some(match word {
            "exited" => Self::Exited(exit_code),
            "signaled" => Self::Signaled(exit_code - 128),
            "timed_out" => Self::TimedOut,
            "oom_killed" => Self::OomKilled,
            "canceled" => Self::Canceled,
            "sandbox_lost" => Self::SandboxLost,
            "start_failed" => {
                let (failure, message) = failure?;
                Self::StartFailed(failure, message)
            }
            _ => return None,
        })
    }

    /// The outcome's word on the wire.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Exited(_) => "exited",
            Self::Signaled(_) => "signaled",
            Self::TimedOut => "timed_out",
            Self::OomKilled => "oom_killed",
            Self::Canceled => "canceled",
            Self::SandboxLost => "sandbox_lost",
            Self::StartFailed(..) => "start_failed",
        }
    }

    /// The exit code that a shell would report: 128 + n for a signal, 124 for a timeout (as
    /// `timeout(1)`), 137 for an out-of-memory kill, 130 when canceled, 127 and 126 when the
    /// program is not there or not executable, 125 for all else.
    pub const fn exit_code(&self) -> i32 {
        match self {
            Self::Exited(code) => *code,
            Self::Signaled(signal) => 128 + *signal,
            Self::TimedOut => 124,
            Self::OomKilled => 137,
            Self::Canceled => 130,
            Self::StartFailed(StartFailure::NotFound, _) => 127,
            Self::StartFailed(StartFailure::NotExecutable, _) => 126,
            Self::SandboxLost
            | Self::StartFailed(
                StartFailure::BadWorkdir
                | StartFailure::BadUser
                | StartFailure::Resources
                | StartFailure::Other,
                _,
            ) => 125,
        }
    }

    /// The signal that ended the program.
    pub const fn signal(&self) -> Option<i32> {
        match self {
            Self::Signaled(signal) => Some(*signal),
            Self::OomKilled => Some(9),
            Self::Exited(_)
            | Self::TimedOut
            | Self::Canceled
            | Self::SandboxLost
            | Self::StartFailed(..) => None,
        }
    }
}

/// What a program used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, user and system.
    pub cpu: Duration,
    /// The largest resident set of any one of its processes, in bytes.
    pub memory_peak_bytes: u64,
}

/// An exec that outlives the call that started it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecRecord {
    /// Which exec.
    pub id: ExecId,
    /// Where it runs.
    pub sandbox: SandboxId,
    /// Whether it was started in the background.
    pub background: bool,
    /// Whether it has a terminal.
    pub tty: bool,
    /// On whose behalf it was started.
    pub owner: Option<String>,
    /// When it was started.
    pub started_at: Timestamp,
    /// Its end, once it has ended.
    pub end: Option<ExecEnd>,
}

/// The end of an exec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecEnd {
    /// When it was written down.
    pub at: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// From its start to its end.
    pub duration: Duration,
    /// Bytes that it wrote to standard output.
    pub stdout_bytes: u64,
    /// Bytes that it wrote to standard error.
    pub stderr_bytes: u64,
    /// What it used.
    pub usage: Usage,
}

/// An exec that has ended, with its output.
#[derive(Clone, Debug)]
pub struct ExecResult {
    /// Which exec.
    pub id: ExecId,
    /// How it ended.
    pub outcome: Outcome,
    /// What it wrote to standard output.
    pub stdout: Output,
    /// What it wrote to standard error.
    pub stderr: Output,
    /// From its start to its end.
    pub duration: Duration,
    /// What it used.
    pub usage: Usage,
}

/// Output kept within a limit: the first half and the last half of what does not fit.
#[derive(Clone, Debug)]
pub struct Output {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    head_max: usize,
    tail_max: usize,
    total: u64,
}

impl Output {
    /// Keeps at most `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        let head_max = limit / 2;
        Self {
            head: Vec::new(),
            tail: VecDeque::new(),
            head_max,
            tail_max: limit - head_max,
            total: 0,
        }
    }

    /// Adds what was written next.
    pub fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let (first, rest) = bytes.split_at(bytes.len().min(self.head_max - self.head.len()));
        self.head.extend_from_slice(first);
        let rest = &rest[rest.len().saturating_sub(self.tail_max)..];
        let over = (self.tail.len() + rest.len()).saturating_sub(self.tail_max);
        self.tail.drain(..over);
        self.tail.extend(rest);
    }

    /// Everything that was kept, without a mark where bytes are missing.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone();
        bytes.extend(&self.tail);
        bytes
    }

    /// The output as text: U+FFFD for what is not UTF-8, and a line that says how much is
    /// missing where something is.
    pub fn text(&self) -> String {
        if !self.is_truncated() {
            return String::from_utf8_lossy(&self.bytes()).into_owned();
        }
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        format!(
            "{}\n[{} bytes omitted]\n{}",
            String::from_utf8_lossy(&self.head),
            self.total - (self.head.len() + tail.len()) as u64,
            String::from_utf8_lossy(&tail),
        )
    }

    /// How many bytes were written in all.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Whether bytes are missing.
    pub fn is_truncated(&self) -> bool {
        self.total > (self.head.len() + self.tail.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn arguments_reach_the_shell_quoted() {
        let args = ["a b".to_owned(), "it's".to_owned(), "$HOME".to_owned()];
        let program = ExecProgram::shell("echo", &args);
        assert_eq!(program, ExecProgram::Shell(r"echo 'a b' 'it'\''s' '$HOME'".into()));
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(Outcome::Exited(3).exit_code(), 3);
        assert_eq!(Outcome::Signaled(15).exit_code(), 143);
        assert_eq!(Outcome::TimedOut.exit_code(), 124);
        assert_eq!(Outcome::StartFailed(StartFailure::NotFound, String::new()).exit_code(), 127);
    }

    #[test]
    fn an_outcome_is_made_again_from_its_parts() {
        for outcome in [
            Outcome::Exited(3),
            Outcome::Signaled(15),
            Outcome::TimedOut,
            Outcome::OomKilled,
            Outcome::Canceled,
            Outcome::SandboxLost,
            Outcome::StartFailed(StartFailure::BadUser, "no".into()),
        ] {
            let failure = if let Outcome::StartFailed(failure, message) = &outcome {
                Some((*failure, message.clone()))
            } else {
                None
            };
            let again = Outcome::from_parts(outcome.word(), outcome.exit_code(), failure);
            assert_eq!(again, Some(outcome));
        }
        for failure in StartFailure::ALL {
            assert_eq!(StartFailure::from_word(failure.word()), Some(failure));
        }
    }

    #[test]
    fn truncated_output_says_how_much_is_missing() {
        let mut output = Output::with_limit(4);
        output.push(b"abcdefgh");
        assert_eq!(output.text(), "ab\n[4 bytes omitted]\ngh");
    }

    proptest! {
        #[test]
        fn output_keeps_the_first_and_the_last_bytes(
            chunks in vec(vec(any::<u8>(), 0..20), 0..20),
            limit in 0_usize..64,
        ) {
            let all = chunks.concat();
            let mut output = Output::with_limit(limit);
            for chunk in &chunks {
                output.push(chunk);
            }
            let kept = output.bytes();
            prop_assert_eq!(output.total(), all.len() as u64);
            prop_assert_eq!(kept.len(), all.len().min(limit));
            prop_assert_eq!(output.is_truncated(), all.len() > limit);
            let head = kept.len().min(limit / 2);
            prop_assert_eq!(&kept[..head], &all[..head]);
            prop_assert_eq!(&kept[head..], &all[all.len() - (kept.len() - head)..]);
        }
    }
}
