//! Directories on this machine as archives, for `cp`. An archive that comes from a sandbox is
//! hostile: nothing in it leads out of the directory that it is unpacked in.

use std::io::{self, BufRead, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use archive::{Limits, Top};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::failed::Failed;
use crate::output;

/// Bytes of an archive that travel at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Chunks that wait for the side that is slower.
const QUEUE: usize = 4;

/// What a sandbox may make on this machine: a million files, 1 TiB.
const LIMITS: Limits = Limits { entries: 1_000_000, bytes: 1 << 40 };

/// What became of packing.
pub type Packing = JoinHandle<Result<(), archive::Error>>;

/// Packs a directory; its archive as it is made, and what becomes of it.
pub fn pack(
    path: &Path,
) -> Result<(impl Stream<Item = io::Result<Bytes>> + Send + use<>, Packing), Failed> {
    let failed = |error: io::Error| Failed::with_path("read", path, &error);
    let dir: OwnedFd = std::fs::File::open(path).map_err(failed)?.into();
    let (send, mut receive) = mpsc::channel(QUEUE);
    let packing = tokio::task::spawn_blocking(move || {
        let mut out = Out { send, buffer: BytesMut::with_capacity(CHUNK_BYTES) };
        let result = archive::pack(Top::Directory(dir), &mut out);
        if result.is_err() {
            // The other side must not take what is there for a whole archive.
            let cut = io::Error::other("the archive is not whole");
            let _ = out.send.blocking_send(Err(cut));
        }
        result
    });
    Ok((futures::stream::poll_fn(move |context| receive.poll_recv(context)), packing))
}

/// Unpacks an archive in a directory.
pub async fn unpack<S, E>(path: &Path, mut archive: S) -> Result<(), Failed>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    Failed: From<E>,
{
    let failed = |error: io::Error| Failed::with_path("write", path, &error);
    let dir: OwnedFd = std::fs::File::open(path).map_err(failed)?.into();
    let (send, fed) = mpsc::channel(QUEUE);
    let unpacking = tokio::task::spawn_blocking(move || {
        let mut source = In { fed, current: Bytes::new() };
        archive::unpack(&dir, &mut source, LIMITS)
    });
    let mut cut = None;
    while let Some(chunk) = archive.next().await {
        match chunk {
            Ok(bytes) => {
                if send.send(bytes).await.is_err() {
                    // It has failed, and says why.
                    break;
                }
            }
            Err(error) => {
                cut = Some(error);
                break;
            }
        }
    }
    drop(send);
    let unpacked = unpacking.await;
    if let Some(error) = cut {
        return Err(error.into());
    }
    match unpacked {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(said("write", path, &error)),
        Err(error) => Err(Failed::to(format!("write {}", path.display()), &error)),
    }
}

/// Why a directory could not be packed or unpacked.
pub fn said(action: &str, path: &Path, error: &archive::Error) -> Failed {
    let place = |inner: &str| -> PathBuf { path.join(inner) };
    match error {
        archive::Error::File { path: inner, error } => {
            Failed::with_path(action, &place(inner), &io::Error::from(*error))
        }
        archive::Error::Invalid { .. } => Failed::new(output::printable(&error.to_string()))
            .hint("the sandbox sent what must not be unpacked here; do not trust its files"),
        archive::Error::Limit { .. } | archive::Error::Changed { .. } => {
            Failed::new(output::printable(&error.to_string()))
        }
        archive::Error::Stream(error) => Failed::with_path(action, path, error),
    }
}

struct Out {
    send: mpsc::Sender<io::Result<Bytes>>,
    buffer: BytesMut,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let sent = self.send.blocking_send(Ok(self.buffer.split().freeze()));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

struct In {
    fed: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for In {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for In {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() {
            match self.fed.blocking_recv() {
                Some(bytes) => self.current = bytes,
                None => break,
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, count: usize) {
        let _ = self.current.split_to(count);
    }
}
