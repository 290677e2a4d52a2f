//! Watching a program: what it wrote, with offsets, over as many streams as the agent's ring makes
//! necessary.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use model::{ExecId, Failure, Reason};
use proto::{GuestError, GuestErrorKind, Kind, Reply, Request};

use super::link::{Channel, Link};
use super::{REPLY_DEADLINE, convert};
use crate::guest::{Offsets, WatchEvent, WatchStream};

/// A watch that is under way.
struct Watch {
    link: Arc<Link>,
    id: ExecId,
    channel: Channel,
    /// The bytes that come next.
    next: Offsets,
}

/// Begins to watch.
pub async fn watch(link: &Arc<Link>, id: &ExecId, from: Offsets) -> Result<WatchStream, Failure> {
    let (channel, next) = open(link, id, from).await?;
    let watch = Watch { link: Arc::clone(link), id: id.clone(), channel, next };
    let events = stream::unfold(Some(watch), |watch| async move {
        let mut watch = watch?;
        let event = watch.event().await;
        let over = matches!(event, Err(_) | Ok(WatchEvent::Exit(_)));
        Some((event, (!over).then_some(watch)))
    });
    Ok(events.boxed())
}

async fn open(link: &Arc<Link>, id: &ExecId, from: Offsets) -> Result<(Channel, Offsets), Failure> {
    let channel = link.request(&Request::Watch {
        exec_id: id.to_string(),
        stdout_offset: from.stdout,
        stderr_offset: from.stderr,
    })?;
    let reply = channel.reply(REPLY_DEADLINE).await.map_err(|failure| {
        if failure.reason != Reason::PathInvalid {
            return failure;
        }
        // The only thing about a watch that can make no sense is where it is to begin.
        Failure::invalid_field("offset", "it is past the end of the output")
            .hint("go on from the `next` of the last line that you have")
    })?;
    let Reply::Started { stdout_offset, stderr_offset } = reply else {
        return Err(convert::protocol_broken("a watched exec"));
    };
    Ok((channel, Offsets { stdout: stdout_offset, stderr: stderr_offset }))
}

impl Watch {
    async fn event(&mut self) -> Result<WatchEvent, Failure> {
        loop {
            let item = self.channel.next().await.ok_or_else(convert::connection_lost)?;
            return match item.kind {
                Kind::Data => {
                    let (offset, bytes) = taken(&mut self.next.stdout, item.payload);
                    Ok(WatchEvent::Stdout { offset, bytes })
                }
                Kind::DataErr => {
                    let (offset, bytes) = taken(&mut self.next.stderr, item.payload);
                    Ok(WatchEvent::Stderr { offset, bytes })
                }
                Kind::Exit => match serde_json::from_slice(&item.payload) {
                    Ok(exit) => Ok(WatchEvent::Exit(convert::exec_exit(exit))),
                    Err(_) => Err(convert::protocol_broken("an exit")),
                },
                Kind::Reset if fell_behind(&item.payload) => {
                    // What was missed is gone; it goes on with the oldest that there is.
                    let (channel, next) = open(&self.link, &self.id, self.next).await?;
                    (self.channel, self.next) = (channel, next);
                    continue;
                }
                Kind::Reset => Err(convert::reset(&item.payload)),
                Kind::Hello
                | Kind::Open
                | Kind::Reply
                | Kind::End
                | Kind::Window
                | Kind::Ping
                | Kind::Pong => Err(convert::protocol_broken("output or an exit")),
            };
        }
    }
}

fn taken(next: &mut u64, bytes: Bytes) -> (u64, Bytes) {
    let offset = *next;
    *next = next.saturating_add(bytes.len() as u64);
    (offset, bytes)
}

fn fell_behind(payload: &[u8]) -> bool {
    serde_json::from_slice::<GuestError>(payload)
        .is_ok_and(|error| error.kind == GuestErrorKind::FellBehind)
}
