//! One connection: reads frames, checks that the peer keeps to the protocol, and routes each to
//! its stream or starts what a request asks for. It does no work of a request that can take
//! long. `listen` calls [`serve`], and so does any other transport.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use proto::frame::decode_window;
use proto::{
    GENERATION, GuestError, GuestErrorKind, HEADER_LEN, Header, Hello, Kind, OLDEST_GENERATION,
    Reply, Request,
};
use rustix::io::Errno;

use crate::agent::Agent;
use crate::dial::dial;
use crate::exec;
use crate::files::{self, NewContents, Range};
use crate::link::{Link, Refusal};
use crate::stream::Stream;

/// Bytes read at once. Requests and credits are far smaller; larger data bypasses the buffer.
const READ_BUFFER: usize = 8 * 1024;

/// Payload bytes that a ping may carry.
const PING_MAX: usize = 64;

/// Why a connection ends.
enum End {
    /// The peer closed it, or it broke.
    Closed,
    /// The peer broke the protocol, in these words.
    Violation(String),
}

/// Speaks the protocol on any duplex descriptor until it ends. Jobs outlive the connection.
pub fn serve(agent: &Arc<Agent>, socket: OwnedFd) {
    let link = Link::new(agent.next_link(), socket);
    if let Err(End::Violation(message)) = converse(agent, &link) {
        let error = GuestError { kind: GuestErrorKind::Invalid, message };
        let text = serde_json::to_vec(&error).unwrap_or_default();
        let _ = link.send(Kind::Reset, 0, &text);
    }
    link.close();
    agent.execs.connection_lost(agent, link.id);
}

fn converse(agent: &Arc<Agent>, link: &Arc<Link>) -> Result<(), End> {
    let hello = Hello { generation: GENERATION, agent: agent.number };
    let text = serde_json::to_vec(&hello).map_err(|_| End::Closed)?;
    link.send(Kind::Hello, 0, &text).map_err(|_| End::Closed)?;

    let mut frames = Frames::new(link);
    let (header, payload) = frames.next()?;
    if header.kind != Kind::Hello || header.stream != 0 {
        return Err(violation("the first frame is no hello"));
    }
    let peer: Hello =
        serde_json::from_slice(&payload).map_err(|error| violation(format!("hello: {error}")))?;
    if peer.generation < OLDEST_GENERATION {
        return Err(violation(format!(
            "generation {} is older than {OLDEST_GENERATION}",
            peer.generation
        )));
    }
    loop {
        let (header, payload) = frames.next()?;
        route(agent, link, header, payload)?;
    }
}

fn violation(message: impl Into<String>) -> End {
    End::Violation(message.into())
}

fn route(
    agent: &Arc<Agent>,
    link: &Arc<Link>,
    header: Header,
    payload: Vec<u8>,
) -> Result<(), End> {
    if header.stream == 0 {
        return match header.kind {
            Kind::Ping if payload.len() <= PING_MAX => {
                link.send(Kind::Pong, 0, &payload).map_err(|_| End::Closed)
            }
            Kind::Pong => Ok(()),
            Kind::Hello
            | Kind::Open
            | Kind::Reply
            | Kind::Data
            | Kind::DataErr
            | Kind::End
            | Kind::Window
            | Kind::Reset
            | Kind::Exit
            | Kind::Ping => Err(violation(format!("{:?} on stream 0", header.kind))),
        };
    }
    // A stream that ended on this side may still be spoken to until the peer learns of it, so
    // frames for a stream that is not open are ignored.
    let stream = link.find(header.stream);
    match header.kind {
        Kind::Open => return open(agent, link, header.stream, &payload),
        Kind::Data => {
            if let Some(stream) = stream {
                stream.deliver(payload).map_err(|_| violation("more data than was granted"))?;
            }
        }
        Kind::End => {
            if let Some(stream) = stream {
                stream.deliver_end();
            }
        }
        Kind::Window => {
            let bytes = decode_window(&payload).map_err(|error| violation(error.to_string()))?;
            if let Some(stream) = stream {
                stream.add_credit(bytes);
            }
        }
        Kind::Reset => {
            if let Some(stream) = stream {
                stream.close();
            }
        }
        Kind::Hello | Kind::Reply | Kind::DataErr | Kind::Exit | Kind::Ping | Kind::Pong => {
            return Err(violation(format!("{:?} from the host", header.kind)));
        }
    }
    Ok(())
}

fn open(agent: &Arc<Agent>, link: &Arc<Link>, id: u32, payload: &[u8]) -> Result<(), End> {
    let stream = match link.open(id) {
        Ok(stream) => stream,
        Err(Refusal::Duplicate) => return Err(violation("a stream is opened twice")),
        Err(Refusal::Lost) => return Err(End::Closed),
        Err(Refusal::TooMany) => {
            let message = "streams: too many are open on this connection".to_owned();
            let error = GuestError { kind: GuestErrorKind::Limit, message };
            let text = serde_json::to_vec(&Reply::Error(error)).unwrap_or_default();
            return link.send(Kind::Reply, id, &text).map_err(|_| End::Closed);
        }
    };
    match serde_json::from_slice(payload) {
        Ok(request) => answer(agent, request, stream),
        Err(error) => stream.refuse(GuestErrorKind::Invalid, format!("request: {error}")),
    }
    Ok(())
}

fn answer(agent: &Arc<Agent>, request: Request, stream: Arc<Stream>) {
    match request {
        Request::Exec(start) => {
            stream.ignore_data();
            exec::start(agent, &start, &stream);
        }
        Request::Attach { exec_id, stdout_offset, stderr_offset } => {
            stream.ignore_data();
            exec::attach(agent, &exec_id, [stdout_offset, stderr_offset], stream);
        }
        Request::Wait { exec_id } => {
            stream.ignore_data();
            exec::wait(agent, &exec_id, &stream);
        }
        Request::Watch { exec_id, stdout_offset, stderr_offset } => {
            stream.ignore_data();
            exec::watch(agent, &exec_id, [stdout_offset, stderr_offset], &stream);
        }
        Request::Input { exec_id, close } => exec::input(agent, &exec_id, close, &stream),
        Request::Signal { exec_id, signal } => {
            stream.finish(&exec::signal(agent, &exec_id, signal));
        }
        Request::Resize { exec_id, size } => stream.finish(&exec::resize(agent, &exec_id, size)),
        Request::Cancel { exec_id } => stream.finish(&exec::cancel(agent, &exec_id)),
        Request::Release { exec_id } => stream.finish(&agent.execs.release(&exec_id)),
        Request::Execs => stream.finish(&Reply::Execs { execs: agent.execs.describe() }),
        Request::Console { lines } => {
            stream.finish(&Reply::Console { lines: agent.console.last(lines) });
        }
        Request::Fs(op) => files::operate(agent, op, &stream),
        Request::Read { path, offset, length } => {
            files::read(agent, path, Range { offset, length }, &stream);
        }
        Request::Write { path, mode, parents, only } => {
            files::write(agent, NewContents { path, mode, parents, only }, &stream);
        }
        Request::Dial { port } => dial(agent, port, &stream),
    }
}

/// Cuts what is read into frames.
struct Frames<'a> {
    link: &'a Link,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<'a> Frames<'a> {
    fn new(link: &'a Link) -> Self {
        Self { link, buffer: vec![0; READ_BUFFER].into_boxed_slice(), start: 0, end: 0 }
    }

    /// The next frame; blocks until it is whole.
    fn next(&mut self) -> Result<(Header, Vec<u8>), End> {
        let mut bytes = [0; HEADER_LEN];
        self.fill(&mut bytes)?;
        let header = Header::decode(bytes).map_err(|error| violation(error.to_string()))?;
        let mut payload = vec![0; header.len as usize];
        self.fill(&mut payload)?;
        Ok((header, payload))
    }

    fn fill(&mut self, mut into: &mut [u8]) -> Result<(), End> {
        while !into.is_empty() {
            if self.start == self.end {
                if into.len() >= self.buffer.len() {
                    let count = read(self.link, into)?;
                    into = &mut into[count..];
                    continue;
                }
                self.end = read(self.link, &mut self.buffer)?;
                self.start = 0;
            }
            let count = into.len().min(self.end - self.start);
            into[..count].copy_from_slice(&self.buffer[self.start..self.start + count]);
            into = &mut into[count..];
            self.start += count;
        }
        Ok(())
    }
}

fn read(link: &Link, into: &mut [u8]) -> Result<usize, End> {
    loop {
        match rustix::io::read(link, &mut *into) {
            Ok(0) => return Err(End::Closed),
            Ok(count) => return Ok(count),
            Err(Errno::INTR) => {}
            Err(_) => return Err(End::Closed),
        }
    }
}
