//! The JSON messages inside frames.
//!
//! Readers ignore fields that they do not know. Paths are absolute paths inside the sandbox.
//! Names that are not UTF-8 travel with U+FFFD in the place of what cannot be said.

use serde::{Deserialize, Serialize};

use crate::exec::{ExecInfo, ExecStart, TtySize};
use crate::fs::{Entry, FsOp, Precondition};

/// What the agent is told at start, as JSON in its first argument. Holds no secret: the workload
/// may read it in `/proc/1/cmdline`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct AgentConfig {
    /// A listening stream socket that the agent inherits.
    pub listen_fd: i32,
    /// An inherited directory descriptor: the sandbox's own cgroup, in which the agent may make
    /// one child for each exec. Without it a kill walks the process tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill_cgroup_fd: Option<i32>,
    /// An inherited descriptor of the file that counts the sandbox's out-of-memory kills
    /// (`memory.events` or `memory.oom_control`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_fd: Option<i32>,
    /// The user that jobs and file calls run as.
    pub uid: u32,
    /// The group that jobs and file calls run as.
    pub gid: u32,
    /// The environment that every job starts from.
    pub env: Vec<(String, String)>,
    /// Where a job starts when it names no directory.
    pub workdir: String,
    /// How many execs may run at once.
    pub max_execs: u32,
}

/// Each side's first message.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Hello {
    /// The newest generation that the sender speaks; both use the smaller of the two.
    pub generation: u32,
    /// A number that the agent draws when it starts, 0 from the host: a different one after a
    /// reconnect means a different agent.
    #[serde(default)]
    pub agent: u64,
}

/// What the host asks when it opens a stream.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Start a process.
    Exec(ExecStart),
    /// Follow a process that this agent runs or ran, from the given offsets on.
    Attach {
        /// The exec's id.
        exec_id: String,
        /// Bytes of standard output that the host already has.
        stdout_offset: u64,
        /// Bytes of standard error that the host already has.
        stderr_offset: u64,
    },
    /// End everything that the exec started: TERM, the exec's grace, KILL. The outcome becomes
    /// [`Outcome::Canceled`](crate::Outcome::Canceled). Answered at once.
    Cancel {
        /// The exec's id.
        exec_id: String,
    },
    /// Forget an exec that has ended, with its output. No error if there is none.
    Release {
        /// The exec's id.
        exec_id: String,
    },
    /// Every exec that the agent remembers.
    Execs,
    /// Wait for the end of an exec: `started`, then its `exit` and none of its output.
    Wait {
        /// The exec's id.
        exec_id: String,
    },
    /// Follow an exec beside whoever else does, from the given offsets on: `started`, what the
    /// agent still has, what is written from then on, `exit`. It never holds the job back; a
    /// reader that is slower than the ring allows is reset with
    /// [`GuestErrorKind::FellBehind`] and may watch again.
    Watch {
        /// The exec's id.
        exec_id: String,
        /// The first byte of standard output that is wanted.
        stdout_offset: u64,
        /// The first byte of standard error that is wanted.
        stderr_offset: u64,
    },
    /// Write the bytes that follow to the exec's standard input, behind what was sent before;
    /// answered with `written` when the job's pipe has taken all of them. A stream that ends
    /// early takes back what of its bytes the pipe has not.
    Input {
        /// The exec's id.
        exec_id: String,
        /// Whether the end of these bytes is the end of the input. To a terminal it is typed:
        /// Ctrl-D, within a line twice.
        close: bool,
    },
    /// Send a signal to the exec's process group, with a terminal to its foreground group.
    Signal {
        /// The exec's id.
        exec_id: String,
        /// The signal's number, 1 to 64.
        signal: i32,
    },
    /// Set the size of the exec's terminal.
    Resize {
        /// The exec's id.
        exec_id: String,
        /// Its new size.
        size: TtySize,
    },
    /// A file operation that is answered in one reply, or with a listing.
    Fs(FsOp),
    /// Send a regular file's bytes.
    Read {
        /// The file.
        path: String,
        /// The first byte to send.
        offset: u64,
        /// How many bytes at most; to the end of the file when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        length: Option<u64>,
    },
    /// Replace a regular file by the bytes that follow: written beside it under another name,
    /// then renamed.
    Write {
        /// The file.
        path: String,
        /// Permission bits; 0644 when absent and the file is new, kept when it is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<u32>,
        /// Make missing parent directories.
        parents: bool,
        /// What must hold when the file is replaced.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        only: Option<Precondition>,
    },
    /// Connect to a TCP port on the sandbox's loopback, v4 first, then v6.
    Dial {
        /// The port.
        port: u16,
    },
    /// The last lines of what execs printed, oldest first.
    Console {
        /// How many lines at most.
        lines: u32,
    },
}

/// The agent's answer to a request.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// The exec is known and its output follows, starting at these offsets. They are larger than
    /// asked for when the agent no longer has the bytes.
    Started {
        /// Offset of the first byte of standard output that follows.
        stdout_offset: u64,
        /// Offset of the first byte of standard error that follows.
        stderr_offset: u64,
    },
    /// Done, nothing to say.
    Done,
    /// Every exec that the agent remembers.
    Execs {
        /// Oldest first.
        execs: Vec<ExecInfo>,
    },
    /// One described file.
    Entry(Entry),
    /// Entries follow as data, one JSON [`Entry`] a line (for a glob: one JSON string, a path).
    Listing,
    /// As a listing, but of a part.
    Page {
        /// The bytes of the last name of this part, when there are more behind it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<Vec<u8>>,
    },
    /// The file's bytes follow as data.
    File {
        /// The file as it was when it was opened.
        entry: Entry,
    },
    /// The bytes were taken by the exec.
    Written {
        /// How many.
        bytes: u64,
    },
    /// The archive was unpacked.
    Unpacked {
        /// How many members it had.
        entries: u64,
        /// How many bytes all files have together.
        bytes: u64,
    },
    /// The file was replaced.
    Stored {
        /// Its new size in bytes.
        bytes: u64,
        /// Its new validator.
        etag: String,
    },
    /// The port is connected.
    Dialed,
    /// The last lines of the console.
    Console {
        /// Oldest first, without line ends.
        lines: Vec<String>,
    },
    /// The request failed and had no effect, or none that is left.
    Error(GuestError),
    /// As an error: the archive is none, or has a member that may not be unpacked.
    BadArchive {
        /// The member; empty when it is about the archive as a whole.
        member: String,
        /// For people.
        message: String,
    },
    /// As an error: the request is over a limit.
    OverLimit {
        /// The limit's name, for programs.
        limit: String,
        /// How much it allows.
        max: u64,
        /// For people.
        message: String,
    },
}

/// Why the agent could not do what was asked.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct GuestError {
    /// For programs.
    pub kind: GuestErrorKind,
    /// For people; names the path or field, never anything of the host.
    pub message: String,
}

/// The closed list of what goes wrong in a guest.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestErrorKind {
    /// No such file or directory.
    NotFound,
    /// A part of the path is not a directory.
    NotADirectory,
    /// The file is a directory.
    IsADirectory,
    /// Neither a regular file nor what the operation works on.
    NotAFile,
    /// The configured user may not do this.
    PermissionDenied,
    /// The path is not one: empty, relative, too long, with a NUL, or a loop of links.
    PathInvalid,
    /// The file system is full.
    NoSpace,
    /// The file or the answer is over a limit.
    TooLarge,
    /// There is something at the target already.
    Exists,
    /// The file is not as the precondition says.
    Changed,
    /// The pattern is none.
    Pattern,
    /// The directory is not empty.
    NotEmpty,
    /// The file is in use, or a mount is in the way.
    Busy,
    /// A limit of the agent, named in the message.
    Limit,
    /// Nothing listens on the port.
    ConnectionRefused,
    /// No exec of that id.
    NoSuchExec,
    /// The exec has ended, or has no terminal to resize.
    NotRunning,
    /// The exec takes no input, or none any more.
    InputClosed,
    /// The reader was slower than the ring allows.
    FellBehind,
    /// The request makes no sense to this agent.
    Invalid,
    /// Anything else, said in the message.
    #[serde(other)]
    Internal,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Outcome, StartFailure};

    #[test]
    fn a_newer_peer_may_add_fields() {
        let text = r#"{"generation":1,"agent":7,"colour":"blue"}"#;
        let hello: Hello = serde_json::from_str(text).unwrap();
        assert_eq!(hello, Hello { generation: 1, agent: 7 });
    }

    #[test]
    fn a_request_says_its_operation_first() {
        let request = Request::Fs(FsOp::Stat { path: "/a".into() });
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(text, r#"{"op":"fs","fs":"stat","path":"/a"}"#);
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
    }

    #[test]
    fn an_error_kind_from_the_future_reads_as_internal() {
        let text = r#"{"reply":"error","kind":"moon_phase","message":"m"}"#;
        let Reply::Error(error) = serde_json::from_str(text).unwrap() else {
            panic!("an error reply stays one")
        };
        assert_eq!(error.kind, GuestErrorKind::Internal);
    }

    #[test]
    fn outcomes_round_trip() {
        for outcome in [
            Outcome::Exited { code: 3 },
            Outcome::Signaled { signal: 9 },
            Outcome::TimedOut,
            Outcome::OomKilled,
            Outcome::Canceled,
            Outcome::StartFailed { failure: StartFailure::NotFound, message: "m".into() },
        ] {
            let text = serde_json::to_string(&outcome).unwrap();
            assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
        }
    }
}
