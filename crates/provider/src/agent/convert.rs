//! Between the guest's words and ours. What a guest says is shown to callers only where it is
//! about the guest, and bounded.

use std::time::Duration;

use model::file::NAME_BYTES_MAX;
use model::{
    ExecProgram, ExecSpec, Failure, FileChange, FileEvent, FileInfo, FileKind, FileMode, FileOp,
    GrepLine, GrepResult, Outcome, Precondition, Reason, StartFailure, Timestamp, TtySize, Usage,
};
use proto::{Entry, EntryKind, ExecStart, Found, FsOp, GuestError, GuestErrorKind, Program, Stdin};

use crate::guest::{ExecExit, ExecStatus, Offsets};

/// Entries in one listing, and matches of one glob: what fits an answer of some megabytes.
pub const LISTING_MAX: u32 = 100_000;

/// Characters of a guest's message that are passed on.
const MESSAGE_CHARS: usize = 500;

/// The connection ended before the answer came.
pub fn connection_lost() -> Failure {
    Failure::new(Reason::SandboxUnreachable, "the sandbox's agent went away")
}

/// The agent did not answer in time.
pub fn no_answer(deadline: Duration) -> Failure {
    let message = format!("the sandbox's agent did not answer within {}s", deadline.as_secs());
    Failure::new(Reason::SandboxUnreachable, message)
}

/// The agent answered with something that is not the protocol.
pub fn protocol_broken(expected: &str) -> Failure {
    let message = "the sandbox's agent gave an answer that makes no sense";
    Failure::new(Reason::SandboxUnreachable, message).caused_by(format!("expected {expected}"))
}

/// The failure in the payload of a reset.
pub fn reset(payload: &[u8]) -> Failure {
    serde_json::from_slice(payload).map_or_else(|_| connection_lost(), guest_error)
}

/// A guest's error as a failure.
pub fn guest_error(error: GuestError) -> Failure {
    let reason = match error.kind {
        GuestErrorKind::Pattern => {
            let problem = bounded(error.message);
            let problem = problem.strip_prefix("pattern: ").unwrap_or(&problem);
            return Failure::invalid_field("pattern", problem);
        }
        GuestErrorKind::NotFound => Reason::FileNotFound,
        GuestErrorKind::NotADirectory => Reason::NotADirectory,
        GuestErrorKind::IsADirectory => Reason::IsADirectory,
        GuestErrorKind::NotAFile => Reason::NotAFile,
        GuestErrorKind::PermissionDenied => Reason::PermissionDenied,
        GuestErrorKind::PathInvalid | GuestErrorKind::Invalid => Reason::PathInvalid,
        GuestErrorKind::NoSpace => Reason::NoSpace,
        GuestErrorKind::TooLarge | GuestErrorKind::Limit | GuestErrorKind::FellBehind => {
            Reason::TooLarge
        }
        GuestErrorKind::Exists => Reason::FileExists,
        GuestErrorKind::Changed => Reason::FileChanged,
        GuestErrorKind::NotEmpty => Reason::DirectoryNotEmpty,
        GuestErrorKind::Busy => Reason::FileBusy,
        GuestErrorKind::ConnectionRefused => Reason::PortClosed,
        GuestErrorKind::NoSuchExec => Reason::ExecNotFound,
        GuestErrorKind::NotRunning => Reason::ExecNotRunning,
        GuestErrorKind::InputClosed => Reason::StdinClosed,
        GuestErrorKind::Internal => {
            return Failure::new(Reason::SandboxUnreachable, "the sandbox's agent failed")
                .caused_by(bounded(error.message));
        }
    };
    Failure::new(reason, bounded(error.message))
}

/// An archive that may not be unpacked.
pub fn bad_archive(member: String, message: String) -> Failure {
    let failure = Failure::new(Reason::ArchiveInvalid, bounded(message));
    if member.is_empty() { failure } else { failure.detail("member", bounded(member)) }
}

/// A limit of the agent that a request is over.
pub fn over_limit(limit: String, max: u64, message: String) -> Failure {
    Failure::new(Reason::TooLarge, bounded(message))
        .detail("limit", bounded(limit))
        .detail("max", i64::try_from(max).unwrap_or(i64::MAX))
}

fn bounded(message: String) -> String {
    if message.chars().count() <= MESSAGE_CHARS {
        return message;
    }
    message.chars().take(MESSAGE_CHARS).chain(['…']).collect()
}

/// An exec as the agent is asked for it.
pub fn exec_start(spec: &ExecSpec) -> ExecStart {
    ExecStart {
        exec_id: spec.id.to_string(),
        program: match &spec.program {
            ExecProgram::Shell(line) => Program::Shell { line: line.clone() },
            ExecProgram::Argv(argv) => Program::Argv { argv: argv.clone() },
        },
        env: spec.env.clone(),
        workdir: spec.workdir.clone(),
        timeout_ms: spec.timeout.map(millis),
        grace_ms: millis(spec.grace),
        drain_ms: millis(spec.drain),
        stdin: if spec.stdin { Stdin::Stream } else { Stdin::Null },
        ring_bytes: spec.ring_bytes,
        end_with_connection: spec.kill_on_disconnect,
        detached: spec.detached,
        tty: spec.tty.map(tty_size),
        user: spec.user.clone(),
    }
}

/// A terminal's size as the agent is told.
pub fn tty_size(size: TtySize) -> proto::TtySize {
    proto::TtySize { cols: size.cols, rows: size.rows }
}

/// An exec that the agent remembers; nothing if its id is none of ours.
pub fn exec_status(info: proto::ExecInfo) -> Option<ExecStatus> {
    let offsets = |[stdout, stderr]: [u64; 2]| Offsets { stdout, stderr };
    Some(ExecStatus {
        id: info.exec_id.parse().ok()?,
        exit: info.exit.map(exec_exit),
        oldest: offsets(info.oldest),
        written: offsets(info.written),
    })
}

/// Whole milliseconds, at least one for what is more than nothing.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The end of an exec.
pub fn exec_exit(exit: proto::ExecExit) -> ExecExit {
    ExecExit {
        outcome: outcome(exit.outcome),
        duration: Duration::from_micros(exit.duration_us),
        stdout_bytes: exit.stdout_bytes,
        stderr_bytes: exit.stderr_bytes,
        usage: Usage {
            cpu: Duration::from_micros(exit.usage.cpu_us),
            memory_peak_bytes: exit.usage.memory_peak_bytes,
        },
    }
}

fn outcome(outcome: proto::Outcome) -> Outcome {
    match outcome {
        proto::Outcome::Exited { code } => Outcome::Exited(code & 0xff),
        proto::Outcome::Signaled { signal } => Outcome::Signaled(signal & 0x7f),
        proto::Outcome::TimedOut => Outcome::TimedOut,
        proto::Outcome::OomKilled => Outcome::OomKilled,
        proto::Outcome::Canceled => Outcome::Canceled,
        proto::Outcome::StartFailed { failure, message } => {
            let failure = match failure {
                proto::StartFailure::NotFound => StartFailure::NotFound,
                proto::StartFailure::NotExecutable => StartFailure::NotExecutable,
                proto::StartFailure::BadWorkdir => StartFailure::BadWorkdir,
                proto::StartFailure::BadUser => StartFailure::BadUser,
                proto::StartFailure::Resources => StartFailure::Resources,
                proto::StartFailure::Other => StartFailure::Other,
            };
            Outcome::StartFailed(failure, bounded(message))
        }
    }
}

/// A file operation as the agent is asked for it.
pub fn fs_op(op: &FileOp) -> FsOp {
    match op {
        FileOp::Stat(path) => FsOp::Stat { path: path.to_string() },
        FileOp::List(path) => FsOp::List { path: path.to_string(), limit: LISTING_MAX },
        FileOp::Page { path, limit, after } => {
            FsOp::Page { path: path.to_string(), limit: *limit, after: after.clone() }
        }
        FileOp::Mkdir { path, mode, parents } => FsOp::Mkdir {
            path: path.to_string(),
            mode: mode.map(FileMode::bits),
            parents: *parents,
        },
        FileOp::Delete { path, recursive } => {
            FsOp::Delete { path: path.to_string(), recursive: *recursive }
        }
        FileOp::Move { from, to } => FsOp::Move { from: from.to_string(), to: to.to_string() },
        FileOp::Copy { from, to, recursive } => {
            FsOp::Copy { from: from.to_string(), to: to.to_string(), recursive: *recursive }
        }
        FileOp::Grep(grep) => FsOp::Grep {
            path: grep.path.to_string(),
            pattern: grep.pattern.clone(),
            recursive: grep.recursive,
            ignore_case: grep.ignore_case,
            limit: grep.limit,
            names: grep.names.clone(),
        },
        FileOp::Chmod { path, mode } => FsOp::Chmod { path: path.to_string(), mode: mode.bits() },
        FileOp::Glob { pattern, limit } => {
            FsOp::Glob { pattern: pattern.to_string(), limit: *limit }
        }
    }
}

/// A condition as the agent is told.
pub fn precondition(only: &Precondition) -> proto::Precondition {
    match only {
        Precondition::Exists => proto::Precondition::Exists,
        Precondition::Absent => proto::Precondition::Absent,
        Precondition::Is(etags) => proto::Precondition::Is {
            etags: etags.iter().map(|etag| etag.as_str().to_owned()).collect(),
        },
    }
}

/// Where the next part of a listing begins. What cannot be a name would be asked for without end.
pub fn next_name(next: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Failure> {
    match next {
        Some(name) if name.is_empty() || name.len() > NAME_BYTES_MAX => {
            Err(protocol_broken("a name of a directory entry"))
        }
        Some(_) | None => Ok(next),
    }
}

/// What a search found.
pub fn grep_result(found: Vec<Found>) -> GrepResult {
    let mut result = GrepResult::default();
    for one in found {
        match one {
            Found::Line { path, line, column, text } => {
                result.lines.push(GrepLine { path, line, column, text });
            }
            Found::Truncated => result.truncated = true,
        }
    }
    result
}

/// Something that happened to a file.
pub fn file_event(event: proto::FileEvent) -> FileEvent {
    let proto::FileEvent { change, path, from, is_dir } = event;
    let change = match change {
        proto::FileChange::Created => FileChange::Created,
        proto::FileChange::Modified => FileChange::Modified,
        proto::FileChange::Deleted => FileChange::Deleted,
        proto::FileChange::Moved => FileChange::Moved,
        proto::FileChange::Attrib => FileChange::Attrib,
        proto::FileChange::Overflow => FileChange::Overflow,
    };
    FileEvent { change, path, from, is_dir }
}

/// A described file.
pub fn file_info(entry: Entry) -> FileInfo {
    let Entry { path, kind, size, mode, uid, gid, modified, symlink_target, etag, name_bytes } =
        entry;
    let micros = modified
        .seconds
        .saturating_mul(1_000_000)
        .saturating_add(i64::from(modified.nanos.min(999_999_999)) / 1000);
    FileInfo {
        path,
        kind: match kind {
            EntryKind::File => FileKind::File,
            EntryKind::Directory => FileKind::Directory,
            EntryKind::Symlink => FileKind::Symlink,
            EntryKind::Other => FileKind::Other,
        },
        size,
        mode: FileMode::from_bits(mode),
        uid,
        gid,
        modified: Timestamp::from_micros(micros),
        symlink_target,
        etag: etag.parse().ok(),
        name_bytes: name_bytes.filter(|name| name.len() <= NAME_BYTES_MAX),
    }
}
