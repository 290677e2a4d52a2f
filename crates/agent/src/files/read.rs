//! Sending a regular file. Not a directory, pipe, socket or device: those are refused before a
//! byte is read.

use std::os::fd::OwnedFd;

use proto::{Entry, EntryKind, GuestErrorKind, Kind, MAX_PAYLOAD, Reply};
use rustix::fs::{OFlags, SeekFrom, fstat, fstatfs, seek};
use rustix::io::Errno;

use super::list::{entry, kind_of};
use super::path::{GuestPath, Root};
use super::{Answer, Range, fail, refusal};
use crate::stream::Stream;

/// Bytes read and sent at once.
const READ_CHUNK: usize = MAX_PAYLOAD;

/// File systems whose files have no length of their own: /proc and /sys, as `statfs(2)` numbers
/// them.
const MADE_UP: [i64; 2] = [0x9fa0, 0x6265_6572];

/// Bytes of such a file that are read at once, and at most.
const MADE_UP_READ: usize = 16 * 1024;
const MADE_UP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// An open regular file.
#[derive(Debug)]
pub struct Source {
    file: OwnedFd,
    entry: Entry,
    /// The contents of a file that does not know its length.
    made_up: Option<Vec<u8>>,
}

/// Opens a file for reading. The open itself does not block on a pipe or a device.
pub fn open(root: Root<'_>, path: &GuestPath) -> Answer<Source> {
    let failed = |error| fail(path.as_str(), error);
    let file = root.open(path, OFlags::RDONLY | OFlags::NONBLOCK).map_err(failed)?;
    let stat = fstat(&file).map_err(failed)?;
    regular(path, kind_of(&stat))?;
    let mut entry = entry(path.as_str().to_owned(), &stat);
    let made_up = if is_made_up(&file, entry.size) {
        let contents = all_of(&file).map_err(failed)?;
        entry.size = contents.len() as u64;
        Some(contents)
    } else {
        None
    };
    Ok(Source { file, entry, made_up })
}

/// Whether the kernel makes the contents up as they are read, as in /proc and /sys: the length that
/// such a file tells is not its own.
fn is_made_up(file: &OwnedFd, size: u64) -> bool {
    size == 0 || fstatfs(file).is_ok_and(|fs| MADE_UP.contains(&fs.f_type))
}

/// All that can be read of a file, which is not more than [`MADE_UP_BYTES_MAX`].
fn all_of(file: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut contents = Vec::new();
    let mut buffer = vec![0; MADE_UP_READ];
    loop {
        match rustix::io::read(file, &mut buffer) {
            Ok(0) => return Ok(contents),
            Ok(count) if contents.len() + count > MADE_UP_BYTES_MAX => return Err(Errno::FBIG),
            Ok(count) => contents.extend_from_slice(&buffer[..count]),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Refuses what is not a regular file.
pub fn regular(path: &GuestPath, kind: EntryKind) -> Answer<()> {
    let path = path.as_str();
    match kind {
        EntryKind::File => Ok(()),
        EntryKind::Directory => {
            Err(refusal(GuestErrorKind::IsADirectory, format!("{path}: it is a directory")))
        }
        EntryKind::Symlink | EntryKind::Other => {
            Err(refusal(GuestErrorKind::NotAFile, format!("{path}: it is no regular file")))
        }
    }
}

impl Source {
    /// Answers, sends the bytes, and ends the stream.
    pub fn send(self, range: Range, stream: &Stream) -> Answer<()> {
        let (path, size) = (self.entry.path.clone(), self.entry.size);
        if let Some(contents) = self.made_up {
            let from = usize::try_from(range.offset).unwrap_or(usize::MAX).min(contents.len());
            let left = contents.len() - from;
            let length = range.length.map_or(left, |it| usize::try_from(it).unwrap_or(left));
            let part = &contents[from..from + length.min(left)];
            if stream.reply(&Reply::File { entry: self.entry }).is_ok()
                && stream.send_all(Kind::Data, part).is_ok()
            {
                let _ = stream.send_end();
            }
            stream.close();
            return Ok(());
        }
        if range.offset > 0 {
            seek(&self.file, SeekFrom::Start(range.offset)).map_err(|error| fail(&path, error))?;
        }
        if stream.reply(&Reply::File { entry: self.entry }).is_ok() {
            // As long as was announced: what is written behind that is not part of this answer.
            let left = size.saturating_sub(range.offset);
            let length = range.length.map_or(left, |length| length.min(left));
            if let Err(error) = send_bytes(&self.file, length, stream) {
                let error = fail(&path, error);
                stream.reset(error.kind, error.message);
            }
        }
        stream.close();
        Ok(())
    }
}

fn send_bytes(file: &OwnedFd, mut left: u64, stream: &Stream) -> Result<(), Errno> {
    let mut buffer = vec![0; READ_CHUNK];
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(READ_CHUNK).min(READ_CHUNK);
        let Ok(room) = stream.wait_credit(wanted) else { return Ok(()) };
        let count = match rustix::io::read(file, &mut buffer[..room]) {
            // The file has shrunk meanwhile.
            Ok(0) => return Err(Errno::STALE),
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error),
        };
        if stream.send_data(Kind::Data, &buffer[..count]).is_err() {
            return Ok(());
        }
        left -= count as u64;
    }
    let _ = stream.send_end();
    Ok(())
}
