//! A sandbox from the inside: what every runtime offers once it is connected.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use model::{
    ArchiveLimits, ExecId, ExecSpec, Failure, FileEvent, FileInfo, FileMode, FileOp, FileReply,
    Outcome, Precondition, SandboxPath, Stored, TtySize, Unpacked, Usage,
};
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes as they come, with back-pressure: what is not taken is not produced.
pub type ByteStream = BoxStream<'static, Result<Bytes, Failure>>;

/// A connected port: bytes in both directions, each of which can be closed alone.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection to the agent of one sandbox. Many calls may be under way at once, and none
/// blocks another.
#[async_trait]
pub trait Guest: Send + Sync {
    /// Whether the connection still stands. Once false it stays false: connect again.
    fn is_connected(&self) -> bool;

    /// Asks for a sign of life.
    ///
    /// *Idempotence*: yes. *Cancellation*: safe.
    async fn ping(&self) -> Result<(), Failure>;

    /// Starts a program and follows it.
    ///
    /// *Requires*: an id that was never used. *Idempotence*: no.
    /// *Cancellation*: the program may have been started; `cancel` ends it.
    async fn exec(&self, spec: &ExecSpec) -> Result<ExecSession, Failure>;

    /// Follows a program that was started before, from the bytes on that were already seen. A
    /// program that has ended is followed to its end.
    ///
    /// *Requires*: nothing; an unknown id is [`ExecNotFound`](model::Reason::ExecNotFound).
    /// *Idempotence*: the last one to attach gets the output. *Cancellation*: safe.
    async fn attach(&self, id: &ExecId, seen: Offsets) -> Result<ExecSession, Failure>;

    /// Waits for the end of a program that was started before: a session whose only event is the
    /// exit.
    ///
    /// *Requires*: nothing; an unknown id is [`ExecNotFound`](model::Reason::ExecNotFound).
    /// *Idempotence*: yes, any number may wait. *Cancellation*: safe.
    async fn wait(&self, id: &ExecId) -> Result<ExecSession, Failure>;

    /// Follows a program beside whoever else does, from the given bytes on. The program is never
    /// held back: bytes that were overwritten before they were taken are missing, and the offsets
    /// tell. It ends with the exit, or with a failure when the connection is lost.
    ///
    /// *Requires*: nothing; an unknown id is [`ExecNotFound`](model::Reason::ExecNotFound), an
    /// offset past the end is [`InvalidField`](model::Reason::InvalidField).
    /// *Idempotence*: yes, any number may watch. *Cancellation*: safe.
    async fn watch(&self, id: &ExecId, from: Offsets) -> Result<WatchStream, Failure>;

    /// Writes to a program's standard input, behind what was written before; returns how many
    /// bytes its pipe has taken, when it has taken all.
    ///
    /// *Requires*: a program that was started with standard input; one without is
    /// [`StdinClosed`](model::Reason::StdinClosed), one that has ended is
    /// [`ExecNotRunning`](model::Reason::ExecNotRunning).
    /// *Idempotence*: no. *Cancellation*: any first part may have been written.
    async fn send_stdin(&self, id: &ExecId, body: ByteStream, close: bool) -> Result<u64, Failure>;

    /// Sends a signal to a program's process group.
    ///
    /// *Requires*: a running program, else [`ExecNotRunning`](model::Reason::ExecNotRunning).
    /// *Idempotence*: as the program has it. *Cancellation*: it may or may not have been sent.
    async fn signal(&self, id: &ExecId, signal: i32) -> Result<(), Failure>;

    /// Sets the size of a program's terminal.
    ///
    /// *Requires*: a running program with a terminal, else
    /// [`ExecNotRunning`](model::Reason::ExecNotRunning). *Idempotence*: yes.
    /// *Cancellation*: safe.
    async fn resize(&self, id: &ExecId, size: TtySize) -> Result<(), Failure>;

    /// Every program that the agent remembers, oldest first.
    ///
    /// *Requires*: nothing. *Idempotence*: yes. *Cancellation*: safe.
    async fn execs(&self) -> Result<Vec<ExecStatus>, Failure>;

    /// Ends a program and everything it started.
    ///
    /// *Requires*: nothing. *Idempotence*: yes. *Cancellation*: safe.
    async fn cancel(&self, id: &ExecId) -> Result<(), Failure>;

    /// Lets the agent forget a program that has ended.
    ///
    /// *Requires*: nothing. *Idempotence*: yes. *Cancellation*: safe.
    async fn release(&self, id: &ExecId) -> Result<(), Failure>;

    /// A file operation.
    ///
    /// *Requires*: nothing. *Idempotence*: that of the operation. *Cancellation*: it may or may
    /// not have happened.
    async fn fs(&self, op: &FileOp) -> Result<FileReply, Failure>;

    /// A regular file's bytes.
    ///
    /// *Requires*: nothing. *Idempotence*: yes. *Cancellation*: safe, also by dropping the
    /// stream.
    async fn read(
        &self,
        path: &SandboxPath,
        range: ByteRange,
    ) -> Result<(FileInfo, ByteStream), Failure>;

    /// Replaces a regular file by `body`, all of it or not at all, if what `options` say of it
    /// holds at that moment.
    ///
    /// *Requires*: nothing. *Idempotence*: yes, with the same body.
    /// *Cancellation*: the file is as it was, or replaced.
    async fn write(
        &self,
        path: &SandboxPath,
        options: WriteOptions,
        body: ByteStream,
    ) -> Result<Stored, Failure>;

    /// What is beneath a directory, or a single file, as a plain tar archive. A stream that fails
    /// is no whole archive.
    ///
    /// *Requires*: nothing. *Idempotence*: yes. *Cancellation*: safe, also by dropping the
    /// stream.
    async fn pack(&self, path: &SandboxPath) -> Result<ByteStream, Failure>;

    /// What happens to a file, or in a directory, from the moment on at which this returns.
    ///
    /// *Requires*: nothing; too many directories are [`TooLarge`](model::Reason::TooLarge).
    /// *Idempotence*: yes, any number may watch. *Cancellation*: safe, also by dropping the
    /// stream.
    async fn watch_files(
        &self,
        path: &SandboxPath,
        recursive: bool,
    ) -> Result<BoxStream<'static, Result<FileEvent, Failure>>, Failure>;

    /// Makes files from a plain tar archive beneath a directory, which is made when it is
    /// missing. What was unpacked before a failure stays.
    ///
    /// *Requires*: nothing; members that would lead elsewhere or are no files are
    /// [`ArchiveInvalid`](model::Reason::ArchiveInvalid). *Idempotence*: yes, with the same body.
    /// *Cancellation*: any first part may have been unpacked.
    async fn unpack(
        &self,
        path: &SandboxPath,
        limits: ArchiveLimits,
        body: ByteStream,
    ) -> Result<Unpacked, Failure>;

    /// Connects to a TCP port on the sandbox's loopback.
    ///
    /// *Requires*: nothing; a port that nothing listens on is
    /// [`PortClosed`](model::Reason::PortClosed). *Idempotence*: every call is a new connection.
    /// *Cancellation*: safe.
    async fn dial(&self, port: u16) -> Result<Box<dyn Duplex>, Failure>;

    /// The last lines of what programs printed, oldest first.
    ///
    /// *Requires*: nothing. *Idempotence*: yes. *Cancellation*: safe.
    async fn console(&self, lines: u32) -> Result<Vec<String>, Failure>;
}

/// A program that is being followed. Dropping it stops the following, not the program.
pub struct ExecSession {
    /// Output as it comes, then exactly one [`ExecEvent::Exit`]; a failure when the connection
    /// is lost, after which the session is over and [`Guest::attach`] goes on.
    pub events: BoxStream<'static, Result<ExecEvent, Failure>>,
    /// Where the output starts: after what was asked for if the agent no longer has that.
    pub start: Offsets,
}

impl fmt::Debug for ExecSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecSession").field("start", &self.start).finish_non_exhaustive()
    }
}

/// What a program did next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecEvent {
    /// It wrote to standard output.
    Stdout(Bytes),
    /// It wrote to standard error.
    Stderr(Bytes),
    /// It ended, and nothing of its output is missing.
    Exit(ExecExit),
}

impl ExecEvent {
    /// The event with its place in the output, of which `next` bytes came before.
    pub fn placed(self, next: &mut Offsets) -> WatchEvent {
        match self {
            Self::Stdout(bytes) => {
                let offset = next.stdout;
                next.stdout += bytes.len() as u64;
                WatchEvent::Stdout { offset, bytes }
            }
            Self::Stderr(bytes) => {
                let offset = next.stderr;
                next.stderr += bytes.len() as u64;
                WatchEvent::Stderr { offset, bytes }
            }
            Self::Exit(exit) => WatchEvent::Exit(exit),
        }
    }
}

/// What a watcher sees; see [`Guest::watch`].
pub type WatchStream = BoxStream<'static, Result<WatchEvent, Failure>>;

/// What a watched program did next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// It wrote these bytes to standard output.
    Stdout {
        /// How many came before them.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// It wrote these bytes to standard error.
    Stderr {
        /// How many came before them.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// It ended, and nothing comes after this.
    Exit(ExecExit),
}

/// A program that the agent remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecStatus {
    /// Its id.
    pub id: ExecId,
    /// Its end, once it has ended.
    pub exit: Option<ExecExit>,
    /// The oldest bytes of its output that can still be had.
    pub oldest: Offsets,
    /// How much it has written so far.
    pub written: Offsets,
}

/// The end of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecExit {
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

/// How much of a program's output was already seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// Bytes of standard output.
    pub stdout: u64,
    /// Bytes of standard error.
    pub stderr: u64,
}

/// Which bytes of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte.
    pub offset: u64,
    /// How many at most; to the end when absent.
    pub length: Option<u64>,
}

/// How a file is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Permission bits; when absent a new file gets 0644 and an old one keeps its own.
    pub mode: Option<FileMode>,
    /// Whether missing parent directories are made.
    pub parents: bool,
    /// What must hold of the file that is replaced, else nothing happens and it is
    /// [`FileChanged`](model::Reason::FileChanged).
    pub only: Option<Precondition>,
}
