//! The half of a connection that streams share: the socket's writing side and the table of open
//! streams. It reads nothing (that is `connection`). Streams, pumps and tasks send through it.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::{Header, Kind, MAX_PAYLOAD};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::hold::hold;
use crate::stream::Stream;

/// Streams that one connection may have open: more than a busy control plane needs, and a bound
/// on what a broken one can make the agent hold.
const STREAMS_MAX: usize = 512;

/// A peer that takes no bytes for so long is given up, with its connection.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// Why a stream cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The id is in use: the peer breaks the protocol.
    Duplicate,
    /// Too many streams are open.
    TooMany,
    /// The connection is gone.
    Lost,
}

/// One connection's writing side.
#[derive(Debug)]
pub struct Link {
    /// Unique in the life of the agent.
    pub id: u64,
    socket: OwnedFd,
    writing: Mutex<()>,
    lost: AtomicBool,
    streams: Mutex<BTreeMap<u32, Arc<Stream>>>,
}

impl Link {
    pub fn new(id: u64, socket: OwnedFd) -> Arc<Self> {
        // Only sockets have a send timeout; on other transports a write may take for ever.
        let _ = set_socket_timeout(&socket, Timeout::Send, Some(WRITE_TIMEOUT));
        Arc::new(Self {
            id,
            socket,
            writing: Mutex::new(()),
            lost: AtomicBool::new(false),
            streams: Mutex::default(),
        })
    }

    /// Sends one frame, whole, in the order of the calls. `payload` is at most [`MAX_PAYLOAD`].
    pub fn send(&self, kind: Kind, stream: u32, payload: &[u8]) -> Result<(), Lost> {
        if payload.len() > MAX_PAYLOAD || self.lost.load(Ordering::Acquire) {
            return Err(Lost);
        }
        let header = Header::of(kind, stream, payload).encode();
        let turn = hold(&self.writing);
        let sent = self.write_all(&header, payload);
        drop(turn);
        sent.map_err(|_| {
            self.close();
            Lost
        })
    }

    fn write_all(&self, mut header: &[u8], mut payload: &[u8]) -> Result<(), Errno> {
        while !header.is_empty() || !payload.is_empty() {
            let parts = [IoSlice::new(header), IoSlice::new(payload)];
            match rustix::io::writev(&self.socket, &parts) {
                Ok(0) => return Err(Errno::PIPE),
                Ok(written) => {
                    let of_header = written.min(header.len());
                    header = &header[of_header..];
                    payload = &payload[written - of_header..];
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Opens a stream that the peer has named.
    pub fn open(self: &Arc<Self>, id: u32) -> Result<Arc<Stream>, Refusal> {
        let mut streams = hold(&self.streams);
        if self.lost.load(Ordering::Acquire) {
            return Err(Refusal::Lost);
        }
        if streams.contains_key(&id) {
            return Err(Refusal::Duplicate);
        }
        if streams.len() >= STREAMS_MAX {
            return Err(Refusal::TooMany);
        }
        let stream = Arc::new(Stream::new(id, Arc::clone(self)));
        streams.insert(id, Arc::clone(&stream));
        Ok(stream)
    }

    /// The open stream of that id.
    pub fn find(&self, id: u32) -> Option<Arc<Stream>> {
        hold(&self.streams).get(&id).cloned()
    }

    /// Takes a stream out of the table; frames for it are ignored from now on.
    pub fn forget(&self, id: u32) {
        hold(&self.streams).remove(&id);
    }

    /// Ends the connection and every stream on it. Idempotent.
    pub fn close(&self) {
        if self.lost.swap(true, Ordering::AcqRel) {
            return;
        }
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        let streams = std::mem::take(&mut *hold(&self.streams));
        for stream in streams.values() {
            stream.mark_gone();
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
