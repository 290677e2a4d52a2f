//! Carrying bytes between a stream and a TCP port on the sandbox's loopback, each direction
//! closed on its own. It reaches no other address. `connection` calls it.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use proto::{GuestErrorKind, Kind, Reply};
use rustix::event::{PollFd, PollFlags, poll};

use crate::agent::Agent;
use crate::stream::{Inbound, Stream};
use crate::task;
use crate::wake::Wake;

/// Dialled ports at once: a page with many connections fits, and each has a thread.
pub const DIALS_MAX: usize = 256;

/// How long a connection on loopback may take: only a listener with a full backlog is slow.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes carried at once.
const DIAL_CHUNK: usize = 64 * 1024;

/// Connects and carries bytes until both directions have ended.
pub fn dial(agent: &Agent, port: u16, stream: &Arc<Stream>) {
    task::spawn(&agent.dials, stream, move |stream| {
        let wake = match Wake::new() {
            Ok(wake) => Arc::new(wake),
            Err(error) => return stream.refuse(GuestErrorKind::Limit, format!("port: {error}")),
        };
        let socket = match connect(port) {
            Ok(socket) => socket,
            Err(error) => {
                return stream.refuse(error_kind(&error), format!("port {port}: {error}"));
            }
        };
        stream.wake_with(&wake);
        if stream.reply(&Reply::Dialed).is_ok() {
            Carrier::new(&socket, stream, &wake).run();
        }
    });
}

fn error_kind(error: &std::io::Error) -> GuestErrorKind {
    let is = |kind| error.kind() == kind;
    if is(ErrorKind::ConnectionRefused) {
        GuestErrorKind::ConnectionRefused
    } else if is(ErrorKind::TimedOut) {
        GuestErrorKind::Busy
    } else if is(ErrorKind::InvalidInput) {
        GuestErrorKind::Invalid
    } else {
        GuestErrorKind::Internal
    }
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    if port == 0 {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, "no port has the number 0"));
    }
    let to = |address: IpAddr| {
        TcpStream::connect_timeout(&SocketAddr::new(address, port), CONNECT_TIMEOUT)
    };
    let v4 = to(Ipv4Addr::LOCALHOST.into());
    // When nothing listens on either, the first answer is the one that everybody understands.
    let socket = v4.or_else(|error| to(Ipv6Addr::LOCALHOST.into()).map_err(|_| error))?;
    socket.set_nonblocking(true)?;
    // The two ends of a dialled port decide themselves what to send in one piece.
    socket.set_nodelay(true)?;
    Ok(socket)
}

struct Carrier<'a> {
    socket: &'a TcpStream,
    stream: &'a Arc<Stream>,
    wake: &'a Wake,
    /// Bytes from the host that the socket had no room for.
    unwritten: Vec<u8>,
    /// The host has sent all, and the socket has it.
    host_ended: bool,
    /// The socket has sent all, and the host has been told.
    socket_ended: bool,
    readable: bool,
    buffer: Vec<u8>,
}

/// The connection broke, or the host gave it up.
struct Broken;

impl<'a> Carrier<'a> {
    fn new(socket: &'a TcpStream, stream: &'a Arc<Stream>, wake: &'a Wake) -> Self {
        Self {
            socket,
            stream,
            wake,
            unwritten: Vec::new(),
            host_ended: false,
            socket_ended: false,
            readable: false,
            buffer: vec![0; DIAL_CHUNK],
        }
    }

    fn run(mut self) {
        while !(self.host_ended && self.socket_ended) {
            self.wake.clear();
            if self.write().and_then(|()| self.read()).is_err() {
                return self.stream.reset(GuestErrorKind::Internal, "port: the connection broke");
            }
            self.sleep();
        }
        self.stream.close();
    }

    fn write(&mut self) -> Result<(), Broken> {
        loop {
            while !self.unwritten.is_empty() {
                let mut socket = self.socket;
                match socket.write(&self.unwritten) {
                    Ok(count) => {
                        self.unwritten.drain(..count);
                        self.stream.consumed(count);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => return Err(Broken),
                }
            }
            match self.stream.poll_inbound() {
                Some(Inbound::Data(data)) => self.unwritten = data,
                Some(Inbound::End) => {
                    if !self.host_ended {
                        self.host_ended = true;
                        // A socket that is closed already has nothing to be told.
                        let _ = self.socket.shutdown(Shutdown::Write);
                    }
                    return Ok(());
                }
                Some(Inbound::Gone) => return Err(Broken),
                None => return Ok(()),
            }
        }
    }

    fn read(&mut self) -> Result<(), Broken> {
        let room = self.stream.credit().min(self.buffer.len());
        if self.socket_ended || room == 0 || !std::mem::take(&mut self.readable) {
            return Ok(());
        }
        let mut socket = self.socket;
        match socket.read(&mut self.buffer[..room]) {
            Ok(0) => {
                self.socket_ended = true;
                self.stream.send_end().map_err(|_| Broken)
            }
            Ok(count) => {
                self.stream.send_data(Kind::Data, &self.buffer[..count]).map_err(|_| Broken)
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(())
            }
            Err(_) => Err(Broken),
        }
    }

    fn sleep(&mut self) {
        let mut interest = PollFlags::empty();
        if !self.socket_ended && self.stream.credit() > 0 {
            interest |= PollFlags::IN;
        }
        if !self.unwritten.is_empty() {
            interest |= PollFlags::OUT;
        }
        let mut polled = vec![PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN)];
        // A socket that nothing is wanted of is left out: its hang-up would spin the loop.
        if !interest.is_empty() {
            polled.push(PollFd::new(self.socket, interest));
        }
        let outcome = poll(&mut polled, None);
        let events = polled.get(1).map_or(PollFlags::empty(), PollFd::revents);
        self.readable =
            outcome.is_ok() && events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
    }
}
