//! What is said about execs: how one is started, and how it ended.

use serde::{Deserialize, Serialize};

/// A process to start.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ExecStart {
    /// Chosen by the host, unique for ever; `[a-z0-9-]`, at most 64 bytes.
    pub exec_id: String,
    /// What to run.
    pub program: Program,
    /// Added to the agent's base environment, later entries win.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// Where to start; the configured one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// After so many milliseconds the whole kill domain is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Milliseconds between TERM and KILL.
    pub grace_ms: u64,
    /// After the main process has ended, how long output of its children is still waited for.
    pub drain_ms: u64,
    /// Standard input.
    pub stdin: Stdin,
    /// Bytes per output stream that the agent keeps for an attach.
    pub ring_bytes: u32,
    /// Cancel the exec when the connection that started it is lost.
    pub end_with_connection: bool,
    /// Nobody follows it: its output goes to the ring, and the stream gets `started` and `exit`.
    #[serde(default)]
    pub detached: bool,
    /// Give it a terminal of this size: one merged output, standard input always a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tty: Option<TtySize>,
    /// Run as this user of the sandbox; the configured one when absent. A name or a number, alone
    /// or before a colon and the name or number of a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// The size of a terminal in character cells.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct TtySize {
    /// Characters in a line.
    pub cols: u16,
    /// Lines.
    pub rows: u16,
}

/// How a command line is to be understood.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Program {
    /// `/bin/sh -c <line>`. The host has already quoted and appended the arguments.
    Shell {
        /// The shell's command line.
        line: String,
    },
    /// Executed directly; a name without a slash is looked up in the job's `PATH`.
    Argv {
        /// The program, then its arguments; never empty.
        argv: Vec<String>,
    },
}

/// Where standard input comes from.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    /// `/dev/null`.
    Null,
    /// What [`Request::Input`](crate::Request::Input) brings, and nothing else: data frames on the
    /// exec's own stream are dropped.
    Stream,
}

/// How a process ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// It called exit.
    Exited {
        /// The code, 0 to 255.
        code: i32,
    },
    /// A signal ended it.
    Signaled {
        /// The signal's number.
        signal: i32,
    },
    /// It ran over its timeout and was ended with everything it had started.
    TimedOut,
    /// The kernel ended it for want of memory.
    OomKilled,
    /// It was ended because somebody asked.
    Canceled,
    /// It never ran.
    StartFailed {
        /// Why not.
        failure: StartFailure,
        /// For people.
        message: String,
    },
}

/// Why a process could not be started.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StartFailure {
    /// No such program.
    NotFound,
    /// The program may not be executed, or is of no format that the kernel knows.
    NotExecutable,
    /// The working directory does not exist or may not be entered.
    BadWorkdir,
    /// The sandbox has no such user, or it may not be used.
    BadUser,
    /// No process, memory or descriptor was left for it.
    Resources,
    /// Anything else, said in the message.
    #[serde(other)]
    Other,
}

/// The last frame of an exec.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ExecExit {
    /// How it ended.
    pub outcome: Outcome,
    /// From the start of the process to its end, in microseconds.
    pub duration_us: u64,
    /// Bytes that it wrote to standard output.
    pub stdout_bytes: u64,
    /// Bytes that it wrote to standard error.
    pub stderr_bytes: u64,
    /// What it used.
    pub usage: Usage,
}

/// Resources that a process and its waited-for children used.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Processor time, user and system, in microseconds.
    pub cpu_us: u64,
    /// The largest resident set of any one of its processes, in bytes.
    pub memory_peak_bytes: u64,
}

/// One exec that the agent remembers.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ExecInfo {
    /// Its id.
    pub exec_id: String,
    /// Its end, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExecExit>,
    /// Offsets of the oldest bytes that the agent still has: standard output, standard error.
    #[serde(default)]
    pub oldest: [u64; 2],
    /// Bytes written so far: standard output, standard error.
    #[serde(default)]
    pub written: [u64; 2],
}
