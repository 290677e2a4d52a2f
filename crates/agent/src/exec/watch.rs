//! Watching an exec beside whoever follows it. A watcher reads the rings on a thread of its own
//! and never holds the job back: what it is too slow for is gone. `connection` calls it; the pump
//! wakes the watchers.

use std::os::fd::AsFd;
use std::sync::Arc;

use proto::{GuestErrorKind, Reply};
use rustix::event::{PollFd, PollFlags, poll};

use super::replay::{OUTPUT_KINDS, REPLAY_CHUNK};
use super::{Exec, NO_SUCH_EXEC};
use crate::agent::Agent;
use crate::hold::hold;
use crate::stream::Stream;
use crate::task;
use crate::wake::Wake;

/// Watchers at once: each is a thread, a descriptor and a buffer while it sends.
pub const WATCHERS_MAX: usize = 64;

/// Has the stream carry the exec's output from the given offsets on, then its exit.
pub fn watch(agent: &Agent, id: &str, offsets: [u64; 2], stream: &Arc<Stream>) {
    let Some(exec) = agent.execs.find(id) else {
        return stream.refuse(GuestErrorKind::NoSuchExec, NO_SUCH_EXEC);
    };
    task::spawn(&agent.watchers, stream, move |stream| {
        let wake = match Wake::new() {
            Ok(wake) => Arc::new(wake),
            Err(error) => return stream.refuse(GuestErrorKind::Limit, format!("exec: {error}")),
        };
        stream.wake_with(&wake);
        hold(&exec.watchers).push(Arc::clone(&wake));
        Watcher { exec: &exec, stream, next: offsets, chunk: Vec::new() }.run(&wake);
        hold(&exec.watchers).retain(|other| !Arc::ptr_eq(other, &wake));
    });
}

struct Watcher<'a> {
    exec: &'a Exec,
    stream: &'a Stream,
    /// Offset of the first byte of each output that is not sent yet.
    next: [u64; 2],
    chunk: Vec<u8>,
}

/// How far a watcher has got.
enum Place {
    /// It has been sent all there is.
    AtEnd,
    /// It has no credit for more.
    Held,
    /// Bytes that it has not been sent are gone.
    Behind,
    /// The stream is.
    Gone,
}

impl Watcher<'_> {
    fn run(mut self, wake: &Wake) {
        let Some(next) = self.exec.first_offsets(self.next) else {
            let message = "offset: past the end of the output";
            return self.stream.refuse(GuestErrorKind::Invalid, message);
        };
        self.next = next;
        let [stdout_offset, stderr_offset] = next;
        let _ = self.stream.reply(&Reply::Started { stdout_offset, stderr_offset });
        loop {
            wake.clear();
            // Asked for first: output that comes before an exit is in the rings by then.
            let exit = self.exec.exit();
            match (self.send(), exit) {
                (Place::AtEnd, Some(exit)) => return self.stream.exit(&exit),
                (Place::AtEnd, None) | (Place::Held, _) => {}
                (Place::Behind, _) => {
                    let message = "exec: its output is ahead of this reader";
                    return self.stream.reset(GuestErrorKind::FellBehind, message);
                }
                (Place::Gone, _) => return self.stream.close(),
            }
            self.chunk = Vec::new();
            let _ = poll(&mut [PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN)], None);
        }
    }

    /// Sends what the rings hold, as far as there is credit.
    fn send(&mut self) -> Place {
        loop {
            let mut place = Place::AtEnd;
            let mut moved = false;
            for (index, kind) in OUTPUT_KINDS.into_iter().enumerate() {
                if self.stream.is_gone() {
                    return Place::Gone;
                }
                let room = self.stream.credit().min(REPLAY_CHUNK);
                self.chunk.clear();
                {
                    let ring = &hold(&self.exec.rings)[index];
                    if ring.start() > self.next[index] {
                        return Place::Behind;
                    }
                    ring.copy_from(self.next[index], room, &mut self.chunk);
                    if self.next[index] + (self.chunk.len() as u64) < ring.end() {
                        place = Place::Held;
                    }
                }
                self.next[index] += self.chunk.len() as u64;
                moved |= !self.chunk.is_empty();
                if self.stream.send_data(kind, &self.chunk).is_err() {
                    return Place::Gone;
                }
            }
            if !moved {
                return place;
            }
        }
    }
}

impl Exec {
    /// Wakes the watchers: a ring has grown, or the exit is known.
    pub(super) fn wake_watchers(&self) {
        hold(&self.watchers).iter().for_each(|wake| wake.ring());
    }
}
