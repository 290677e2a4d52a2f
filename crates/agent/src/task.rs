//! Work of a request that may take long: it gets a thread of its own, of which there are only so
//! many. Not for execs (their pumps are threads of another kind). `connection` and `listen` use
//! it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use proto::GuestErrorKind;

use crate::stream::Stream;

/// Stack of a task's thread: its buffers are on the heap and nothing in it recurses.
const TASK_STACK: usize = 128 * 1024;

/// A bound on how many of something there are at once.
#[derive(Debug)]
pub struct Slots {
    taken: AtomicUsize,
    max: usize,
}

impl Slots {
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), max })
    }

    /// Takes a slot, which is given back when dropped; none when all are taken.
    pub fn take(self: &Arc<Self>) -> Option<Slot> {
        let one_more = |taken| (taken < self.max).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Slot(Arc::clone(self)))
    }
}

/// A taken slot.
#[derive(Debug)]
pub struct Slot(Arc<Slots>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Runs `work` on a thread of its own, or refuses the request.
pub fn spawn(
    slots: &Arc<Slots>,
    stream: &Arc<Stream>,
    work: impl FnOnce(&Arc<Stream>) + Send + 'static,
) {
    let Some(slot) = slots.take() else {
        return stream.refuse(GuestErrorKind::Limit, "request: too many of its kind are running");
    };
    let thread = thread::Builder::new().name("task".into()).stack_size(TASK_STACK);
    let its_stream = Arc::clone(stream);
    let spawned = thread.spawn(move || {
        work(&its_stream);
        drop(slot);
    });
    if spawned.is_err() {
        stream.refuse(GuestErrorKind::Limit, "request: no thread is left for it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_given_back_when_it_is_dropped() {
        let slots = Slots::new(1);
        let slot = slots.take();
        assert!(slot.is_some() && slots.take().is_none());
        drop(slot);
        assert!(slots.take().is_some());
    }
}
