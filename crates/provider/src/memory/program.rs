//! The few programs that the test double runs, and the log of what they wrote.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use model::{ExecProgram, ExecSpec, Outcome, StartFailure, TtySize, Usage};
use tokio::io::{AsyncRead, AsyncReadExt, DuplexStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::guest::Runtime;
use super::locked;
use crate::guest::ExecExit;

/// The only user that there is.
const USER: &str = "1000";

/// How much `flood` writes at a time.
const FLOOD_CHUNK: usize = 64 * 1024;

/// Which of a program's two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Stdout,
    Stderr,
}

/// What a program has written, and how it ended.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) chunks: Vec<(Channel, Bytes)>,
    pub(super) exit: Option<ExecExit>,
}

/// A program that was started.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) log: Mutex<Log>,
    /// Counts the changes of the log.
    pub(super) changed: watch::Sender<u64>,
    pub(super) cancel: CancellationToken,
    /// The caller's end of standard input, until it is closed.
    pub(super) input: tokio::sync::Mutex<Option<DuplexStream>>,
    /// The number of the last signal that was sent; 0 before the first.
    pub(super) signal: watch::Sender<i32>,
    /// The size of the terminal, if there is one.
    pub(super) tty: Mutex<Option<TtySize>>,
}

impl Running {
    pub(super) fn new(tty: Option<TtySize>, input: Option<DuplexStream>) -> Self {
        Self {
            log: Mutex::default(),
            changed: watch::Sender::new(0),
            cancel: CancellationToken::new(),
            input: tokio::sync::Mutex::new(input),
            signal: watch::Sender::new(0),
            tty: Mutex::new(tty),
        }
    }

    /// Whether it has not ended.
    pub(super) fn is_running(&self) -> bool {
        locked(&self.log).exit.is_none()
    }

    fn write(&self, channel: Channel, bytes: impl Into<Bytes>) {
        // A terminal merges the two.
        let channel = if locked(&self.tty).is_some() { Channel::Stdout } else { channel };
        locked(&self.log).chunks.push((channel, bytes.into()));
        self.changed.send_modify(|count| *count += 1);
    }

    pub(super) fn written(&self, wanted: Channel) -> u64 {
        let log = locked(&self.log);
        let of = log.chunks.iter().filter(|(channel, _)| *channel == wanted);
        of.map(|(_, bytes)| bytes.len() as u64).sum()
    }

    fn exit(&self, outcome: Outcome, duration: Duration) {
        let exit = ExecExit {
            outcome,
            duration,
            stdout_bytes: self.written(Channel::Stdout),
            stderr_bytes: self.written(Channel::Stderr),
            usage: Usage { cpu: Duration::from_millis(1), memory_peak_bytes: 4096 },
        };
        locked(&self.log).exit = Some(exit);
        self.changed.send_modify(|count| *count += 1);
    }
}

/// What a program may read: nothing, or what its caller sends.
pub(super) type Stdin = Box<dyn AsyncRead + Send + Unpin>;

/// Runs a program to its end: its own, its timeout's or its caller's.
pub(super) async fn run(runtime: &Runtime, running: &Running, spec: &ExecSpec, stdin: Stdin) {
    let started = Instant::now();
    let overdue = async {
        match spec.timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let outcome = tokio::select! {
        outcome = interpret(runtime, running, spec, stdin) => outcome,
        () = overdue => Outcome::TimedOut,
        () = running.cancel.cancelled() => Outcome::Canceled,
        signal = signaled(running) => Outcome::Signaled(signal),
        () = runtime.ended() => return,
    };
    running.exit(outcome, started.elapsed());
}

/// A signal ends every program of the double.
async fn signaled(running: &Running) -> i32 {
    let mut signal = running.signal.subscribe();
    let sent = signal.wait_for(|signal| *signal != 0).await;
    sent.map_or(0, |signal| *signal)
}

async fn interpret(
    runtime: &Runtime,
    running: &Running,
    spec: &ExecSpec,
    mut stdin: Stdin,
) -> Outcome {
    if let Some(user) = spec.user.as_deref().filter(|user| *user != USER) {
        let message = format!("no such user: {user}");
        return Outcome::StartFailed(StartFailure::BadUser, message);
    }
    let workdir = spec.workdir.as_deref().unwrap_or("/workspace");
    if !runtime.files().is_directory(workdir) {
        let message = format!("no such directory: {workdir}");
        return Outcome::StartFailed(StartFailure::BadWorkdir, message);
    }
    let line = match &spec.program {
        ExecProgram::Argv(argv) => {
            return command(runtime, running, argv, (spec, &mut stdin)).await;
        }
        ExecProgram::Shell(line) => line,
    };
    let mut outcome = Outcome::Exited(0);
    for part in line.split([';', '\n']) {
        let words = words(part);
        if words.is_empty() {
            continue;
        }
        outcome = command(runtime, running, &words, (spec, &mut stdin)).await;
        if let Outcome::StartFailed(_, message) = &outcome {
            running.write(Channel::Stderr, format!("sh: {message}\n"));
            outcome = Outcome::Exited(127);
        }
        if part.trim_start().starts_with("exit") {
            break;
        }
    }
    outcome
}

/// Splits a line at blanks outside quotes, and takes the quotes off.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            Some(_) | None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

async fn command(
    runtime: &Runtime,
    running: &Running,
    argv: &[String],
    (spec, stdin): (&ExecSpec, &mut Stdin),
) -> Outcome {
    let (channel, argv) = match argv {
        [rest @ .., last] if last == ">&2" => (Channel::Stderr, rest),
        all => (Channel::Stdout, all),
    };
    let Some((program, args)) = argv.split_first() else {
        return Outcome::Exited(0);
    };
    let number = args.first().and_then(|arg| arg.parse::<f64>().ok()).unwrap_or(0.0);
    match program.as_str() {
        "echo" => running.write(channel, args.join(" ") + "\n"),
        "printf" => running.write(channel, args.join(" ").replace("\\n", "\n")),
        "true" | ":" => {}
        "false" => return Outcome::Exited(1),
        #[expect(clippy::cast_possible_truncation, reason = "a test's exit code is small")]
        "exit" => return Outcome::Exited(number as i32),
        "sleep" => tokio::time::sleep(Duration::from_secs_f64(number)).await,
        "pwd" => running.write(channel, spec.workdir.as_deref().unwrap_or("/workspace").to_owned()),
        "env" => {
            for (name, value) in &spec.env {
                running.write(channel, format!("{name}={value}\n"));
            }
        }
        "kill" => return Outcome::Signaled(9),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a test's size is small and positive"
        )]
        "flood" => flood(running, channel, number as usize),
        "cat" => return cat(runtime, running, args, stdin).await,
        other => {
            let message = format!("{other}: not found");
            return Outcome::StartFailed(StartFailure::NotFound, message);
        }
    }
    Outcome::Exited(0)
}

fn flood(running: &Running, channel: Channel, mut bytes: usize) {
    while bytes > 0 {
        let chunk = bytes.min(FLOOD_CHUNK);
        running.write(channel, vec![b'x'; chunk]);
        bytes -= chunk;
    }
}

async fn cat(runtime: &Runtime, running: &Running, paths: &[String], stdin: &mut Stdin) -> Outcome {
    for path in paths {
        let read = runtime.files().read(path);
        match read {
            Ok((_, bytes)) => running.write(Channel::Stdout, bytes),
            Err(failure) => {
                running.write(Channel::Stderr, format!("cat: {failure}\n"));
                return Outcome::Exited(1);
            }
        }
    }
    let mut chunk = vec![0; FLOOD_CHUNK];
    while paths.is_empty() {
        match stdin.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(length) => running.write(Channel::Stdout, chunk[..length].to_vec()),
        }
    }
    Outcome::Exited(0)
}
