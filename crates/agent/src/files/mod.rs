//! File operations, beneath the agent's root and as the job's user. Each runs on its own thread,
//! whose file-system identity is changed first, so that the kernel decides what the job's user
//! may do. `connection` calls the functions here.

mod archives;
mod copy;
mod delete;
mod glob;
mod grep;
mod list;
mod mkdir;
mod moving;
pub(crate) mod path;
pub(crate) mod pattern;
mod read;
mod replace;
mod watch;

use std::sync::Arc;

use proto::{FsOp, GuestError, GuestErrorKind, Kind, Precondition, Reply};
use rustix::io::Errno;

use crate::agent::Agent;
use crate::stream::Stream;
use crate::sys;
use crate::task::{self, Slots};

use replace::NewFile;

pub use path::{GuestPath, Root};

/// File operations at once: disks gain nothing from more, and each has a thread and a buffer.
pub const FILE_TASKS_MAX: usize = 64;

/// Watches at once, each of which has a thread for as long as its caller stays.
pub const WATCHES_MAX: usize = 32;

/// The largest mode: permission bits, set-id bits, sticky bit.
const MODE_MAX: u32 = 0o7777;

pub type Answer<T> = Result<T, Refusal>;

/// Why an operation fails.
#[derive(Debug)]
pub struct Refusal {
    kind: GuestErrorKind,
    pub message: String,
    /// The limit that the request is over.
    limit: Option<(&'static str, u64)>,
    /// The member of an archive that may not be unpacked.
    member: Option<String>,
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        let Refusal { kind, message, limit, member } = refusal;
        match (limit, member) {
            (Some((limit, max)), _) => Self::OverLimit { limit: limit.to_owned(), max, message },
            (None, Some(member)) => Self::BadArchive { member, message },
            (None, None) => Self::Error(GuestError { kind, message }),
        }
    }
}

/// Which part of a file to send.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub offset: u64,
    pub length: Option<u64>,
}

/// Performs an operation and answers it.
pub fn operate(agent: &Arc<Agent>, op: FsOp, stream: &Arc<Stream>) {
    let slots = match op {
        FsOp::Watch { .. } => &agent.watches,
        FsOp::Stat { .. }
        | FsOp::List { .. }
        | FsOp::Page { .. }
        | FsOp::Mkdir { .. }
        | FsOp::Delete { .. }
        | FsOp::Move { .. }
        | FsOp::Copy { .. }
        | FsOp::Pack { .. }
        | FsOp::Unpack { .. }
        | FsOp::Grep { .. }
        | FsOp::Chmod { .. }
        | FsOp::Glob { .. } => &agent.file_tasks,
    };
    as_the_job((agent, slots), stream, move |root, stream| perform(op, root, stream));
}

fn perform(op: FsOp, root: Root<'_>, stream: &Arc<Stream>) -> Answer<Option<Reply>> {
    match op {
        FsOp::Stat { path } => {
            let path = GuestPath::parse(&path)?;
            list::describe(root, &path).map(|entry| Some(Reply::Entry(entry)))
        }
        FsOp::List { path, limit } => {
            let names = list::names(root, GuestPath::parse(&path)?, limit)?;
            send_lines(stream, &Reply::Listing, names.entries(stream));
            Ok(None)
        }
        FsOp::Page { path, limit, after } => {
            let page = list::page(root, GuestPath::parse(&path)?, limit, after.as_deref())?;
            let next = page.next();
            send_lines(stream, &Reply::Page { next }, page.entries(stream));
            Ok(None)
        }
        FsOp::Mkdir { path, mode, parents } => {
            let path = GuestPath::parse(&path)?;
            let mode = mode.map(check_mode).transpose()?;
            mkdir::mkdir(root, &path, mode, parents).map(|()| Some(Reply::Done))
        }
        FsOp::Glob { pattern, limit } => {
            let paths = glob::glob(root, &pattern, limit, stream)?;
            let lines = paths.iter().filter_map(|path| serde_json::to_vec(path).ok());
            send_lines(stream, &Reply::Listing, lines);
            Ok(None)
        }
        FsOp::Delete { path, recursive } => {
            let path = GuestPath::parse(&path)?;
            delete::delete(root, &path, recursive, stream).map(|()| Some(Reply::Done))
        }
        FsOp::Move { from, to } => {
            let (from, to) = (GuestPath::parse(&from)?, GuestPath::parse(&to)?);
            moving::rename(root, (&from, &to), stream).map(|()| Some(Reply::Done))
        }
        FsOp::Copy { from, to, recursive } => {
            let (from, to) = (GuestPath::parse(&from)?, GuestPath::parse(&to)?);
            copy::copy(root, (&from, &to), recursive, stream).map(|()| Some(Reply::Done))
        }
        FsOp::Pack { path } => archives::pack(root, &GuestPath::parse(&path)?, stream),
        FsOp::Unpack { path, entries, bytes } => {
            let limits = archive::Limits { entries, bytes };
            archives::unpack(root, &GuestPath::parse(&path)?, limits, stream)
        }
        FsOp::Chmod { path, mode } => {
            let path = GuestPath::parse(&path)?;
            replace::chmod(root, &path, check_mode(mode)?).map(|()| Some(Reply::Done))
        }
        FsOp::Grep { path, pattern, recursive, ignore_case, limit, names } => {
            let search = grep::Search { pattern, recursive, ignore_case, limit, names };
            let found = grep::grep(root, &GuestPath::parse(&path)?, &search, stream)?;
            let lines = found.iter().filter_map(|found| serde_json::to_vec(found).ok());
            send_lines(stream, &Reply::Listing, lines);
            Ok(None)
        }
        FsOp::Watch { path, recursive } => {
            watch::watch(root, &GuestPath::parse(&path)?, recursive, stream)
        }
    }
}

/// Sends a file.
pub fn read(agent: &Arc<Agent>, path: String, range: Range, stream: &Arc<Stream>) {
    as_the_job((agent, &agent.file_tasks), stream, move |root, stream| {
        let file = read::open(root, &GuestPath::parse(&path)?)?;
        file.send(range, stream)?;
        Ok(None)
    });
}

/// Replaces a file by what the stream brings.
pub fn write(agent: &Arc<Agent>, new: NewContents, stream: &Arc<Stream>) {
    as_the_job((agent, &agent.file_tasks), stream, move |root, stream| {
        let mode = new.mode.map(check_mode).transpose()?;
        let path = GuestPath::parse(&new.path)?;
        let file = NewFile::create(root, &path, new.parents, new.only)?;
        file.receive(mode, stream)
    });
}

/// A file to be written.
#[derive(Debug)]
pub struct NewContents {
    pub path: String,
    pub mode: Option<u32>,
    pub parents: bool,
    pub only: Option<Precondition>,
}

fn check_mode(mode: u32) -> Answer<u32> {
    if mode <= MODE_MAX {
        Ok(mode)
    } else {
        Err(refusal(GuestErrorKind::Invalid, "mode: more than permission bits"))
    }
}

/// Runs an operation as the job's user. An operation that returns no reply has dealt with its
/// stream to the end.
fn as_the_job(
    (agent, slots): (&Arc<Agent>, &Arc<Slots>),
    stream: &Arc<Stream>,
    operation: impl FnOnce(Root<'_>, &Arc<Stream>) -> Answer<Option<Reply>> + Send + 'static,
) {
    let for_task = Arc::clone(agent);
    task::spawn(slots, stream, move |stream| {
        let agent = for_task;
        let became = agent.identity.map_or(Ok(()), sys::become_file_user);
        let answer = match became {
            Ok(()) => operation(Root::new(&agent.root), stream),
            Err(error) => Err(fail("user", error)),
        };
        match answer {
            Ok(Some(reply)) => stream.finish(&reply),
            Ok(None) => {}
            Err(refusal) => stream.finish(&refusal.into()),
        }
    });
}

/// Bytes of a listing that are sent at once.
const LINES_BYTES: usize = 64 * 1024;

/// Answers with a listing, one line for each item, and ends the stream.
fn send_lines(stream: &Stream, reply: &Reply, lines: impl Iterator<Item = Vec<u8>>) {
    let mut buffer = Vec::new();
    let mut sent = stream.reply(reply);
    for line in lines {
        buffer.extend_from_slice(&line);
        buffer.push(b'\n');
        if buffer.len() >= LINES_BYTES && sent.is_ok() {
            sent = stream.send_all(Kind::Data, &buffer);
            buffer.clear();
        }
        if sent.is_err() {
            break;
        }
    }
    let _ =
        sent.and_then(|()| stream.send_all(Kind::Data, &buffer)).and_then(|()| stream.send_end());
    stream.close();
}

fn refusal(kind: GuestErrorKind, message: impl Into<String>) -> Refusal {
    Refusal { kind, message: message.into(), limit: None, member: None }
}

/// Refuses what is over a limit, which the message names.
fn over_limit(limit: &'static str, max: u64, message: impl Into<String>) -> Refusal {
    Refusal { limit: Some((limit, max)), ..refusal(GuestErrorKind::Limit, message) }
}

/// Says what the kernel's refusal means.
fn fail(subject: &str, error: Errno) -> Refusal {
    let kind = match error {
        Errno::NOENT => GuestErrorKind::NotFound,
        Errno::NOTDIR => GuestErrorKind::NotADirectory,
        Errno::ISDIR => GuestErrorKind::IsADirectory,
        Errno::NXIO | Errno::NODEV => GuestErrorKind::NotAFile,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => GuestErrorKind::PermissionDenied,
        Errno::LOOP | Errno::NAMETOOLONG => GuestErrorKind::PathInvalid,
        Errno::NOSPC | Errno::DQUOT => GuestErrorKind::NoSpace,
        Errno::FBIG | Errno::OVERFLOW => GuestErrorKind::TooLarge,
        Errno::EXIST => GuestErrorKind::Exists,
        Errno::NOTEMPTY => GuestErrorKind::NotEmpty,
        Errno::BUSY | Errno::TXTBSY | Errno::AGAIN | Errno::STALE => GuestErrorKind::Busy,
        Errno::INVAL | Errno::XDEV => GuestErrorKind::Invalid,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => GuestErrorKind::Limit,
        _ => GuestErrorKind::Internal,
    };
    refusal(kind, format!("{subject}: {error}"))
}
