//! Archives of files: the bytes come from the stream, or go to it. What may be in an archive is
//! decided in the crate `archive`; this resolves where it is, and says what went wrong.

use std::io::{self, BufRead, Read, Write};

use archive::{Limits, Top};
use proto::{GuestErrorKind, Kind, Reply};
use rustix::fs::{AtFlags, FileType, OFlags, statat};
use rustix::io::Errno;

use super::path::{GuestPath, Root};
use super::read::regular;
use super::{Answer, Refusal, fail, mkdir, refusal};
use crate::stream::{Inbound, Stream};

/// Bytes of an archive that are sent at once.
const SEND_BYTES: usize = 256 * 1024;

/// Answers and sends the archive of a directory or of a single file.
pub fn pack(root: Root<'_>, path: &GuestPath, stream: &Stream) -> Answer<Option<Reply>> {
    let failed = |error| fail(path.as_str(), error);
    let top = match root.open(path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(dir) => Top::Directory(dir),
        Err(Errno::NOTDIR) => {
            let place = root.place(path)?;
            let stat =
                statat(&place.dir, &place.name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                regular(path, super::list::kind_of(&stat))?;
            }
            let name = std::ffi::CString::new(place.name).map_err(|_| failed(Errno::INVAL))?;
            Top::Entry(place.dir, name)
        }
        Err(error) => return Err(failed(error)),
    };
    if stream.reply(&Reply::Done).is_ok() {
        let mut out = Sender { stream, buffer: Vec::with_capacity(SEND_BYTES) };
        match archive::pack(top, &mut out) {
            Ok(()) => drop(stream.send_end()),
            Err(error) => {
                let refusal = said(path, error);
                stream.reset(refusal.kind, refusal.message);
            }
        }
    }
    stream.close();
    Ok(None)
}

/// Unpacks what the stream brings beneath a directory.
pub fn unpack(
    root: Root<'_>,
    path: &GuestPath,
    limits: Limits,
    stream: &Stream,
) -> Answer<Option<Reply>> {
    mkdir::make_all(root, path)?;
    let dir = root
        .open(path, OFlags::RDONLY | OFlags::DIRECTORY)
        .map_err(|error| fail(path.as_str(), error))?;
    let mut source = Receiver { stream, current: Vec::new(), at: 0, gone: false };
    match archive::unpack(&dir, &mut source, limits) {
        Ok(done) => Ok(Some(Reply::Unpacked { entries: done.entries, bytes: done.bytes })),
        Err(_) if source.gone => Ok(None),
        Err(error) => Err(said(path, error)),
    }
}

/// What a failure is to the caller. Members are named as the archive names them, files by their
/// path in the sandbox.
fn said(path: &GuestPath, error: archive::Error) -> Refusal {
    let message = error.to_string();
    match error {
        archive::Error::Invalid { member, .. } => {
            let member = Some(member);
            Refusal { member, ..refusal(GuestErrorKind::Invalid, message) }
        }
        archive::Error::Limit { limit, max, .. } => super::over_limit(limit, max, message),
        archive::Error::File { path: file, error } => fail(&path.join(&file), error),
        archive::Error::Changed { path: file } => {
            let message = format!("{}: it changed while it was read", path.join(&file));
            refusal(GuestErrorKind::Busy, message)
        }
        archive::Error::Stream(error) => refusal(GuestErrorKind::Internal, error.to_string()),
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the stream was given up")
}

/// The way out.
struct Sender<'a> {
    stream: &'a Stream,
    buffer: Vec<u8>,
}

impl Write for Sender<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.is_empty() && bytes.len() >= SEND_BYTES {
            self.stream.send_all(Kind::Data, bytes).map_err(|_| gone())?;
            return Ok(bytes.len());
        }
        let count = bytes.len().min(SEND_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..count]);
        if self.buffer.len() == SEND_BYTES {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        let sent = self.stream.send_all(Kind::Data, &self.buffer);
        self.buffer.clear();
        sent.map_err(|_| gone())
    }
}

/// The way in.
struct Receiver<'a> {
    stream: &'a Stream,
    current: Vec<u8>,
    at: usize,
    gone: bool,
}

impl Read for Receiver<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Receiver<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.current.len() {
            self.stream.consumed(self.current.len());
            (self.current, self.at) = (Vec::new(), 0);
            match self.stream.wait_inbound() {
                Inbound::Data(data) => self.current = data,
                Inbound::End => {}
                Inbound::Gone => {
                    self.gone = true;
                    return Err(gone());
                }
            }
        }
        Ok(&self.current[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}
