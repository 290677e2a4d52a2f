//! Events as server-sent events. The store is read page by page, so that a slow reader is behind
//! and never misses one; the engine's signal only says that it is time to look.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::Engine;
use futures::stream::{self, Stream};
use model::Event;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::convert;

/// Events read at once: few enough to hold in memory for every reader.
const PAGE: u32 = 256;

struct Follower {
    engine: Arc<Engine>,
    signal: watch::Receiver<i64>,
    stopping: CancellationToken,
    heartbeat: Duration,
    /// The sequence number that was sent last.
    seen: i64,
}

/// Every event after `after`, for ever; ends when the server stops or the store fails, after which
/// the client comes back with the last number that it saw.
pub(crate) fn follow(
    engine: Arc<Engine>,
    after: i64,
    heartbeat: Duration,
    stopping: CancellationToken,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send {
    let signal = engine.event_signal();
    let follower = Follower { engine, signal, stopping, heartbeat, seen: after };
    stream::unfold(follower, |mut follower| async {
        let frames = follower.next().await?;
        Some((Ok(Bytes::from(frames)), follower))
    })
}

impl Follower {
    async fn next(&mut self) -> Option<String> {
        loop {
            // Marked as seen before the store is read: an event in between wakes the next wait.
            self.signal.borrow_and_update();
            let events = match self.engine.events_after(self.seen, PAGE).await {
                Ok(events) => events,
                Err(failure) => {
                    tracing::error!(causes = failure.causes(), "read events: {failure}");
                    return None;
                }
            };
            if let Some(last) = events.last() {
                self.seen = last.seq;
                return Some(events.into_iter().map(frame).collect());
            }
            let changed = timeout(self.heartbeat, self.signal.changed());
            match self.stopping.run_until_cancelled(changed).await? {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some(": heartbeat\n\n".to_owned()),
            }
        }
    }
}

fn frame(event: Event) -> String {
    let seq = event.seq;
    let data = serde_json::to_string(&convert::event(event)).expect("an event of strings is JSON");
    format!("id: {seq}\ndata: {data}\n\n")
}
