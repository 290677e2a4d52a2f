//! Sending a regular file. Not a directory, pipe, socket or device: those are refused before a
//! byte is read.

use std::os::fd::OwnedFd;

use proto::{Entry, EntryKind, GuestErrorKind, Kind, MAX_PAYLOAD, Reply};
use rustix::fs::{OFlags, SeekFrom, fstat, seek};
use rustix::io::Errno;

use super::list::{entry, kind_of};
use super::path::{GuestPath, Root};
use super::{Answer, Range, fail, refusal};
use crate::stream::Stream;

/// Bytes read and sent at once.
const READ_CHUNK: usize = MAX_PAYLOAD;

/// An open regular file.
#[derive(Debug)]
pub struct Source {
    file: OwnedFd,
    entry: Entry,
}

/// Opens a file for reading. The open itself does not block on a pipe or a device.
pub fn open(root: Root<'_>, path: &GuestPath) -> Answer<Source> {
    let failed = |error| fail(path.as_str(), error);
    let file = root.open(path, OFlags::RDONLY | OFlags::NONBLOCK).map_err(failed)?;
    let stat = fstat(&file).map_err(failed)?;
    regular(path, kind_of(&stat))?;
    Ok(Source { file, entry: entry(path.as_str().to_owned(), &stat) })
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
