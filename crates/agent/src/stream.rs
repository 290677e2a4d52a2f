//! One stream of a connection: credit in both directions and the bytes that wait for their
//! consumer. It knows nothing of what the bytes mean. The connection's reader fills it; a pump
//! (which polls) or a task (which blocks) is its one consumer.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use proto::{ExecExit, GuestError, GuestErrorKind, INITIAL_WINDOW, Kind, MAX_PAYLOAD, Reply};

use crate::hold::{hold, wait, wait_for};
use crate::link::{Link, Lost};
use crate::wake::Wake;

/// Consumed bytes are granted again in steps of this size, so that small reads do not cost a
/// frame each and the sender still never runs dry.
const GRANT_STEP: u32 = INITIAL_WINDOW / 4;

/// The peer sent more than it was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun;

/// What a consumer finds in a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Inbound {
    /// The next bytes; never empty.
    Data(Vec<u8>),
    /// The peer has no more bytes.
    End,
    /// The peer gave the stream up, or the connection is lost.
    Gone,
}

#[derive(Debug)]
struct State {
    /// Bytes that may still be sent.
    credit: u64,
    inbox: VecDeque<Vec<u8>>,
    /// Bytes that the peer may still send.
    allowance: u32,
    /// Bytes consumed since the last grant.
    consumed: u32,
    ended: bool,
    gone: bool,
    /// Bytes from the peer are dropped.
    deaf: bool,
    /// Rung at every change, for a consumer that polls.
    wake: Option<Arc<Wake>>,
}

/// One stream.
#[derive(Debug)]
pub struct Stream {
    id: u32,
    link: Arc<Link>,
    state: Mutex<State>,
    changed: Condvar,
}

impl Stream {
    pub fn new(id: u32, link: Arc<Link>) -> Self {
        let state = State {
            credit: u64::from(INITIAL_WINDOW),
            inbox: VecDeque::new(),
            allowance: INITIAL_WINDOW,
            consumed: 0,
            ended: false,
            gone: false,
            deaf: false,
            wake: None,
        };
        Self { id, link, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The connection's id.
    pub fn link_id(&self) -> u64 {
        self.link.id
    }

    fn change(&self, apply: impl FnOnce(&mut State)) {
        let mut state = hold(&self.state);
        apply(&mut state);
        if let Some(wake) = &state.wake {
            wake.ring();
        }
        self.changed.notify_all();
    }

    /// Takes in bytes from the peer.
    pub fn deliver(&self, data: Vec<u8>) -> Result<(), Overrun> {
        let mut fits = true;
        self.change(|state| {
            let left = u32::try_from(data.len()).ok().and_then(|n| state.allowance.checked_sub(n));
            match left {
                Some(left) => {
                    state.allowance = left;
                    if !data.is_empty() && !state.ended && !state.deaf {
                        state.inbox.push_back(data);
                    }
                }
                None => fits = false,
            }
        });
        if fits { Ok(()) } else { Err(Overrun) }
    }

    /// Drops bytes from the peer. They still count against its window, which is not renewed, so a
    /// peer that does not stop breaks the protocol.
    pub fn ignore_data(&self) {
        self.change(|state| {
            state.deaf = true;
            state.inbox.clear();
        });
    }

    /// The peer has no more bytes.
    pub fn deliver_end(&self) {
        self.change(|state| state.ended = true);
    }

    /// The peer has room for so many bytes more.
    pub fn add_credit(&self, bytes: u32) {
        self.change(|state| state.credit = state.credit.saturating_add(u64::from(bytes)));
    }

    /// The peer gave the stream up, or the connection is lost.
    pub fn mark_gone(&self) {
        self.change(|state| {
            state.gone = true;
            state.inbox.clear();
        });
    }

    /// Has `wake` rung at every change from now on, and once now.
    pub fn wake_with(&self, wake: &Arc<Wake>) {
        self.change(|state| state.wake = Some(Arc::clone(wake)));
    }

    pub fn is_gone(&self) -> bool {
        hold(&self.state).gone
    }

    /// Bytes that may be sent now.
    pub fn credit(&self) -> usize {
        usize::try_from(hold(&self.state).credit).unwrap_or(usize::MAX)
    }

    /// The next inbound event, if there is one.
    pub fn poll_inbound(&self) -> Option<Inbound> {
        Self::next_inbound(&mut hold(&self.state))
    }

    /// Blocks until there is an inbound event.
    pub fn wait_inbound(&self) -> Inbound {
        let mut state = hold(&self.state);
        loop {
            if let Some(event) = Self::next_inbound(&mut state) {
                return event;
            }
            state = wait(&self.changed, state);
        }
    }

    /// Blocks until there is an inbound event, at most so long.
    pub fn wait_inbound_for(&self, patience: Duration) -> Option<Inbound> {
        let until = Instant::now() + patience;
        let mut state = hold(&self.state);
        loop {
            let event = Self::next_inbound(&mut state);
            let left = until.saturating_duration_since(Instant::now());
            if event.is_some() || left.is_zero() {
                return event;
            }
            state = wait_for(&self.changed, state, left);
        }
    }

    fn next_inbound(state: &mut State) -> Option<Inbound> {
        if state.gone {
            return Some(Inbound::Gone);
        }
        match state.inbox.pop_front() {
            Some(data) => Some(Inbound::Data(data)),
            None => state.ended.then_some(Inbound::End),
        }
    }

    /// Says that `bytes` of what was taken are dealt with, so that the peer may send more.
    pub fn consumed(&self, bytes: usize) {
        let mut state = hold(&self.state);
        state.consumed = state.consumed.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if state.consumed < GRANT_STEP || state.ended || state.gone {
            return;
        }
        let grant = std::mem::take(&mut state.consumed);
        state.allowance = state.allowance.saturating_add(grant);
        drop(state);
        let _ = self.link.send(Kind::Window, self.id, &grant.to_le_bytes());
    }

    /// Sends bytes for which there is credit.
    pub fn send_data(&self, kind: Kind, data: &[u8]) -> Result<(), Lost> {
        for chunk in data.chunks(MAX_PAYLOAD) {
            {
                let mut state = hold(&self.state);
                if state.gone {
                    return Err(Lost);
                }
                state.credit = state.credit.saturating_sub(chunk.len() as u64);
            }
            self.link.send(kind, self.id, chunk)?;
        }
        Ok(())
    }

    /// Sends all bytes, blocking until there is credit for them.
    pub fn send_all(&self, kind: Kind, mut data: &[u8]) -> Result<(), Lost> {
        while !data.is_empty() {
            let now = self.wait_credit(data.len().min(MAX_PAYLOAD))?;
            self.send_data(kind, &data[..now])?;
            data = &data[now..];
        }
        Ok(())
    }

    /// Blocks until something may be sent; how much of `wanted`.
    pub fn wait_credit(&self, wanted: usize) -> Result<usize, Lost> {
        let mut state = hold(&self.state);
        loop {
            if state.gone {
                return Err(Lost);
            }
            if state.credit > 0 {
                return Ok(wanted.min(usize::try_from(state.credit).unwrap_or(usize::MAX)));
            }
            state = wait(&self.changed, state);
        }
    }

    pub fn send_end(&self) -> Result<(), Lost> {
        self.link.send(Kind::End, self.id, &[])
    }

    /// Answers the request. An answer too large for a frame becomes an error.
    pub fn reply(&self, reply: &Reply) -> Result<(), Lost> {
        let mut text = serde_json::to_vec(reply).unwrap_or_default();
        if text.len() > MAX_PAYLOAD || text.is_empty() {
            let error = GuestError {
                kind: GuestErrorKind::TooLarge,
                message: "answer: it does not fit one frame".to_owned(),
            };
            text = serde_json::to_vec(&Reply::Error(error)).unwrap_or_default();
        }
        self.link.send(Kind::Reply, self.id, &text)
    }

    /// Answers the request and ends the stream.
    pub fn finish(&self, reply: &Reply) {
        let _ = self.reply(reply);
        self.close();
    }

    /// Refuses the request and ends the stream.
    pub fn refuse(&self, kind: GuestErrorKind, message: impl Into<String>) {
        self.finish(&Reply::Error(GuestError { kind, message: message.into() }));
    }

    /// Sends an exec's last frame and ends the stream.
    pub fn exit(&self, exit: &ExecExit) {
        let text = serde_json::to_vec(exit).unwrap_or_default();
        let _ = self.link.send(Kind::Exit, self.id, &text);
        self.close();
    }

    /// Gives the stream up, saying why.
    pub fn reset(&self, kind: GuestErrorKind, message: impl Into<String>) {
        if !self.is_gone() {
            let error = GuestError { kind, message: message.into() };
            let text = serde_json::to_vec(&error).unwrap_or_default();
            let _ = self.link.send(Kind::Reset, self.id, &text);
        }
        self.close();
    }

    /// Ends the stream on this side; frames for it are ignored from now on.
    pub fn close(&self) {
        self.link.forget(self.id);
        self.mark_gone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use proptest::prelude::*;
    use proto::frame::decode_window;
    use proto::{HEADER_LEN, Header};

    fn opened() -> (Arc<Stream>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (Link::new(1, ours.into()).open(7).unwrap(), theirs)
    }

    fn read_frame(socket: &mut UnixStream) -> (Kind, Vec<u8>) {
        let mut header = [0; HEADER_LEN];
        socket.read_exact(&mut header).unwrap();
        let header = Header::decode(header).unwrap();
        let mut payload = vec![0; header.len as usize];
        socket.read_exact(&mut payload).unwrap();
        (header.kind, payload)
    }

    proptest! {
        #[test]
        fn a_peer_that_keeps_to_its_window_is_never_refused_and_never_stuck(
            sizes in prop::collection::vec(1_usize..=MAX_PAYLOAD, 1..40),
        ) {
            let (stream, mut peer) = opened();
            let mut window = u64::from(INITIAL_WINDOW);
            for size in sizes {
                prop_assert!(window >= size as u64, "consumed bytes are granted in time");
                prop_assert_eq!(stream.deliver(vec![0; size]), Ok(()));
                window -= size as u64;
                prop_assert!(matches!(stream.poll_inbound(), Some(Inbound::Data(_))));
                stream.consumed(size);
                if hold(&stream.state).consumed == 0 {
                    let (kind, payload) = read_frame(&mut peer);
                    prop_assert_eq!(kind, Kind::Window);
                    window += u64::from(decode_window(&payload).unwrap());
                }
                prop_assert!(window <= u64::from(INITIAL_WINDOW));
            }
        }
    }

    #[test]
    fn one_byte_over_the_window_is_an_overrun() {
        let (stream, _peer) = opened();
        for _ in 0..4 {
            assert_eq!(stream.deliver(vec![0; MAX_PAYLOAD]), Ok(()));
        }
        assert_eq!(stream.deliver(vec![0]), Err(Overrun));
    }

    #[test]
    fn a_sender_stops_at_its_credit_and_goes_on_with_more() {
        let (stream, mut peer) = opened();
        let sender = Arc::clone(&stream);
        let total = INITIAL_WINDOW as usize + 10;
        let sending = std::thread::spawn(move || sender.send_all(Kind::Data, &vec![1; total]));
        let mut got = 0;
        while got < INITIAL_WINDOW as usize {
            got += read_frame(&mut peer).1.len();
        }
        assert_eq!((got, stream.credit()), (INITIAL_WINDOW as usize, 0));
        stream.add_credit(10);
        assert_eq!(read_frame(&mut peer).1.len(), 10);
        assert_eq!(sending.join().unwrap(), Ok(()));
    }

    #[test]
    fn a_lost_connection_wakes_who_waits() {
        let (stream, peer) = opened();
        let waiter = Arc::clone(&stream);
        let waiting = std::thread::spawn(move || waiter.wait_inbound());
        drop(peer);
        stream.close();
        assert_eq!(waiting.join().unwrap(), Inbound::Gone);
        assert_eq!(stream.send_data(Kind::Data, b"x"), Err(Lost));
    }
}
