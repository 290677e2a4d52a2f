//! The JSON messages inside frames.
//!
//! Readers ignore fields that they do not know. Paths are absolute paths inside the sandbox.
//! Names that are not UTF-8 travel with U+FFFD in the place of what cannot be said.

use serde::{Deserialize, Serialize};

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
    /// [`Outcome::Canceled`]. Answered at once.
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
    /// The stream's data frames, closed by `end`.
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
}

/// A file operation. Every path is resolved beneath the sandbox's root, as the configured user.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "fs", rename_all = "snake_case")]
pub enum FsOp {
    /// Describe one file; a symlink is described, not followed.
    Stat {
        /// The file.
        path: String,
    },
    /// Describe what a directory holds, by name.
    List {
        /// The directory.
        path: String,
        /// At most so many entries; more is [`GuestErrorKind::Limit`].
        limit: u32,
    },
    /// Remove a file, or a directory with all that is in it.
    Delete {
        /// What to remove.
        path: String,
        /// Whether a directory that is not empty may be removed.
        recursive: bool,
    },
    /// Rename, replacing a file that is in the way.
    Move {
        /// The old name.
        from: String,
        /// The new name.
        to: String,
    },
    /// Set permission bits; a symlink is followed.
    Chmod {
        /// The file.
        path: String,
        /// Permission bits, at most 07777.
        mode: u32,
    },
    /// Files whose path matches; `*`, `?`, `[…]` stay within a name, `**` crosses directories.
    Glob {
        /// An absolute pattern.
        pattern: String,
        /// At most so many matches; more is [`GuestErrorKind::Limit`].
        limit: u32,
    },
}

/// What a directory entry is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A socket, device or pipe.
    #[serde(other)]
    Other,
}

/// A moment, as a file system keeps it.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Stamp {
    /// Seconds since 1970-01-01 UTC.
    pub seconds: i64,
    /// Nanoseconds past that second.
    pub nanos: u32,
}

/// A described file. Listings carry one as JSON in each line.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its absolute path in the sandbox.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Its size in bytes.
    pub size: u64,
    /// Permission bits, without the type.
    pub mode: u32,
    /// Its owner, as the sandbox numbers users.
    pub uid: u32,
    /// Its group, as the sandbox numbers groups.
    pub gid: u32,
    /// When its contents last changed.
    pub modified: Stamp,
    /// Where a symlink points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symlink_target: Option<String>,
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
    /// The file's bytes follow as data.
    File {
        /// The file as it was when it was opened.
        entry: Entry,
    },
    /// The file was replaced.
    Written {
        /// Its new size in bytes.
        bytes: u64,
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
    /// The request makes no sense to this agent.
    Invalid,
    /// Anything else, said in the message.
    #[serde(other)]
    Internal,
}

#[cfg(test)]
mod tests {
    use super::*;

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
