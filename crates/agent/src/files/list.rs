//! Describing files and directories. It follows no link in the last name and reads no contents.

use std::collections::BinaryHeap;
use std::fmt::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use archive::walk::read_names;
use proto::{Entry, EntryKind, Stamp};
use rustix::fs::{AtFlags, FileType, OFlags, Stat, fstat, readlinkat, statat};
use rustix::io::Errno;

use super::path::{GuestPath, Root};
use super::{Answer, fail, over_limit};
use crate::stream::Stream;

/// Entries of one listing at most, whatever is asked for: their names are held at once.
const LIST_MAX: u32 = 100_000;

/// A directory's names, sorted.
#[derive(Debug)]
pub struct Names {
    dir: OwnedFd,
    path: GuestPath,
    sorted: Vec<Vec<u8>>,
    /// Whether the directory has more behind them.
    more: bool,
}

/// What is found at a name, by the kernel's own account.
pub fn kind_of(stat: &Stat) -> EntryKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink,
        FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => EntryKind::Other,
    }
}

/// An entry without the target of a link.
pub fn entry(path: String, stat: &Stat) -> Entry {
    Entry {
        path,
        kind: kind_of(stat),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        modified: Stamp {
            seconds: stat.st_mtime,
            nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        },
        symlink_target: None,
        etag: etag(stat),
        name_bytes: None,
    }
}

/// A validator: whatever changes a file changes its inode, size or one of its times.
pub fn etag(stat: &Stat) -> String {
    let mut text = String::new();
    let _ = write!(text, "{:x}-{:x}", stat.st_ino, stat.st_size);
    for (seconds, nanos) in
        [(stat.st_mtime, stat.st_mtime_nsec), (stat.st_ctime, stat.st_ctime_nsec)]
    {
        let _ = write!(text, "-{seconds:x}.{nanos:x}");
    }
    text
}

/// Describes one file; a link is described itself.
pub fn describe(root: Root<'_>, path: &GuestPath) -> Answer<Entry> {
    if path.split().is_none() {
        let dir = root.open(path, OFlags::PATH).map_err(|error| fail(path.as_str(), error))?;
        let stat = fstat(dir).map_err(|error| fail(path.as_str(), error))?;
        return Ok(entry(path.as_str().to_owned(), &stat));
    }
    let place = root.place(path)?;
    describe_at(&place.dir, place.name.as_bytes(), path.as_str().to_owned())
        .map_err(|error| fail(path.as_str(), error))
}

fn describe_at(dir: &OwnedFd, name: &[u8], path: String) -> Result<Entry, Errno> {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mut entry = entry(path, &stat);
    if entry.kind == EntryKind::Symlink {
        let target = readlinkat(dir, name, Vec::new())?;
        entry.symlink_target = Some(target.to_string_lossy().into_owned());
    }
    Ok(entry)
}

/// The names of a directory, at most `limit`.
pub fn names(root: Root<'_>, path: GuestPath, limit: u32) -> Answer<Names> {
    let limit = usize::try_from(limit.min(LIST_MAX)).unwrap_or(0);
    let failed = |error| fail(path.as_str(), error);
    let dir = root.open(&path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
    let mut names = Vec::new();
    let mut over = false;
    read_names(&dir, |name, _| {
        over = names.len() >= limit;
        if !over {
            names.push(name.to_bytes().to_vec());
        }
        !over
    })
    .map_err(failed)?;
    if over {
        let message = format!("limit: the directory has more than {limit} entries");
        return Err(over_limit("entries", limit as u64, message));
    }
    names.sort_unstable();
    Ok(Names { dir, path, sorted: names, more: false })
}

/// The first names of a directory behind one. However large the directory is, no more of them
/// than `limit` are held.
pub fn page(root: Root<'_>, path: GuestPath, limit: u32, after: Option<&[u8]>) -> Answer<Names> {
    let limit = usize::try_from(limit.clamp(1, LIST_MAX)).unwrap_or(1);
    let failed = |error| fail(path.as_str(), error);
    let dir = root.open(&path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
    let mut first = BinaryHeap::new();
    let mut more = false;
    read_names(&dir, |name, _| {
        let name = name.to_bytes();
        let behind = after.is_none_or(|after| name > after);
        let fits = first.len() < limit
            || first.peek().is_some_and(|last: &Vec<u8>| name < last.as_slice());
        more |= behind && first.len() == limit;
        if behind && fits {
            if first.len() == limit {
                first.pop();
            }
            first.push(name.to_vec());
        }
        true
    })
    .map_err(failed)?;
    Ok(Names { dir, path, sorted: first.into_sorted_vec(), more })
}

impl Names {
    /// The last name, if there are more behind it.
    pub fn next(&self) -> Option<Vec<u8>> {
        self.sorted.last().filter(|_| self.more).cloned()
    }

    /// Each name's entry as JSON, in order, until the reader is gone. A file that was removed in
    /// between is left out.
    pub fn entries(self, reader: &Arc<Stream>) -> impl Iterator<Item = Vec<u8>> {
        let Self { dir, path, sorted, more: _ } = self;
        let reader = Arc::clone(reader);
        sorted.into_iter().take_while(move |_| !reader.is_gone()).filter_map(move |name| {
            let full = path.join(&String::from_utf8_lossy(&name));
            let mut entry = describe_at(&dir, &name, full).ok()?;
            if std::str::from_utf8(&name).is_err() {
                entry.name_bytes = Some(name);
            }
            serde_json::to_vec(&entry).ok()
        })
    }
}
