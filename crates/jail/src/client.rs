//! A blocking client of the helper, for tests and measurements.
//!
//! The native driver has an asynchronous one of its own; both speak `wire` and nothing else.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;

use crate::launch::{Launched, launch};
use crate::packet;
use crate::wire::{Answer, Call, JailError, MESSAGE_BYTES_MAX, Reply, Request};

/// What came of a call.
pub type Outcome = Result<Answer, JailError>;

/// A running helper and the socket to it. Dropping it closes the socket, which ends the helper.
#[derive(Debug)]
pub struct Client {
    child: Child,
    socket: Option<OwnedFd>,
    last_id: u64,
    early: BTreeMap<u64, Outcome>,
}

impl Client {
    /// Starts a helper with an agent, both executables given as open files.
    pub fn start(helper: impl AsFd, agent: impl AsFd) -> io::Result<Self> {
        let Launched { child, socket } = launch(helper, agent)?;
        Ok(Self { child, socket: Some(socket), last_id: 0, early: BTreeMap::new() })
    }

    /// Sends a call and waits for its reply.
    pub fn call(&mut self, call: Call) -> io::Result<Outcome> {
        let id = self.send(call)?;
        self.receive(id)
    }

    /// Sends a call; the id is for [`Client::receive`].
    pub fn send(&mut self, call: Call) -> io::Result<u64> {
        self.last_id += 1;
        let message = serde_json::to_vec(&Request { id: self.last_id, call })?;
        self.send_raw(&message)?;
        Ok(self.last_id)
    }

    /// Sends any bytes as a message, for the sake of seeing them refused.
    pub fn send_raw(&mut self, message: &[u8]) -> io::Result<()> {
        Ok(packet::send(self.socket()?, message, None)?)
    }

    /// Waits for the reply with this id, keeping others that come first.
    pub fn receive(&mut self, id: u64) -> io::Result<Outcome> {
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        loop {
            if let Some(outcome) = self.early.remove(&id) {
                return Ok(outcome);
            }
            let (length, _) = packet::receive(self.socket()?, &mut buffer)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let reply: Reply = serde_json::from_slice(&buffer[..length])?;
            self.early.insert(reply.id, reply.result);
        }
    }

    /// Closes the socket, as the end of the control plane does, and waits for the helper to end.
    pub fn close(mut self) -> io::Result<std::process::ExitStatus> {
        self.socket = None;
        self.child.wait()
    }

    /// Kills the helper, as a crash does.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    fn socket(&self) -> io::Result<&OwnedFd> {
        self.socket.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}
