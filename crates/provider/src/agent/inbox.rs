//! What has arrived on one stream and was not taken yet.
//!
//! The peer is hostile: the queue holds no more than the credit that was granted, whatever sizes
//! the frames have, and no more control frames than a stream can honestly have.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use proto::{INITIAL_WINDOW, Kind};
use tokio::sync::Notify;

/// Small data frames are joined up to this size, so that a peer that sends a byte at a time
/// costs no more memory than the bytes.
const JOIN_BYTES: usize = 64 * 1024;

/// Control frames (reply, end, exit, reset) that may wait on one stream. Honest streams have at
/// most three in their life.
const CONTROL_MAX: usize = 8;

/// Why what arrived is against the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// More data than there was credit for.
    #[error("read more data than there was credit for")]
    Window,
    /// More control frames than a stream has.
    #[error("read too many control frames on one stream")]
    Control,
}

/// A frame, as the owner of the stream sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Its payload; neighbouring data frames of one kind may be joined.
    pub payload: Bytes,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<(Kind, BytesMut)>,
    control: usize,
    credit: usize,
    closed: bool,
}

/// The queue of one stream.
#[derive(Debug)]
pub struct Inbox {
    state: Mutex<State>,
    arrived: Notify,
}

impl Inbox {
    /// An empty queue with the credit that every stream starts with.
    pub fn new() -> Self {
        let state = State {
            queue: VecDeque::new(),
            control: 0,
            credit: INITIAL_WINDOW as usize,
            closed: false,
        };
        Self { state: Mutex::new(state), arrived: Notify::new() }
    }

    /// Adds what the connection read.
    pub fn push(&self, kind: Kind, payload: BytesMut) -> Result<(), Violation> {
        let mut state = self.lock();
        if kind.is_data() {
            state.credit = state.credit.checked_sub(payload.len()).ok_or(Violation::Window)?;
            match state.queue.back_mut() {
                Some((last, bytes)) if *last == kind && bytes.len() < JOIN_BYTES => {
                    bytes.extend_from_slice(&payload);
                }
                Some(_) | None => state.queue.push_back((kind, payload)),
            }
        } else {
            state.control += 1;
            if state.control > CONTROL_MAX {
                return Err(Violation::Control);
            }
            state.queue.push_back((kind, payload));
        }
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Says that nothing more will arrive.
    pub fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    /// The next frame, or `None` when the connection is lost. The owner grants the peer the
    /// credit of data that it takes, with [`refill`](Self::refill) and a window frame.
    pub async fn next(&self) -> Option<Item> {
        loop {
            let arrived = self.arrived.notified();
            {
                let mut state = self.lock();
                if let Some((kind, payload)) = state.queue.pop_front() {
                    return Some(Item { kind, payload: payload.freeze() });
                }
                if state.closed {
                    return None;
                }
            }
            arrived.await;
        }
    }

    /// Raises the credit by what the peer is about to be granted.
    pub fn refill(&self, bytes: usize) {
        self.lock().credit += bytes;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the queue")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize) -> BytesMut {
        BytesMut::from(vec![7_u8; len].as_slice())
    }

    #[test]
    fn a_peer_that_ignores_its_window_is_found_out() {
        let inbox = Inbox::new();
        assert_eq!(inbox.push(Kind::Data, bytes(INITIAL_WINDOW as usize)), Ok(()));
        assert_eq!(inbox.push(Kind::DataErr, bytes(1)), Err(Violation::Window));
    }

    #[test]
    fn single_bytes_are_joined() {
        let inbox = Inbox::new();
        for _ in 0..100_000 {
            inbox.push(Kind::Data, bytes(1)).unwrap();
        }
        assert!(inbox.lock().queue.len() <= 2);
    }

    #[test]
    fn a_flood_of_control_frames_is_found_out() {
        let inbox = Inbox::new();
        let flood = (0..20).map(|_| inbox.push(Kind::Reply, bytes(2)));
        assert_eq!(flood.last(), Some(Err(Violation::Control)));
    }

    #[tokio::test]
    async fn frames_come_out_in_order_and_then_the_loss() {
        let inbox = Inbox::new();
        inbox.push(Kind::Data, bytes(2)).unwrap();
        inbox.push(Kind::DataErr, bytes(1)).unwrap();
        inbox.push(Kind::Exit, bytes(0)).unwrap();
        inbox.close();
        let mut kinds = Vec::new();
        while let Some(item) = inbox.next().await {
            kinds.push((item.kind, item.payload.len()));
        }
        assert_eq!(kinds, [(Kind::Data, 2), (Kind::DataErr, 1), (Kind::Exit, 0)]);
    }
}
