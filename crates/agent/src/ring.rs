//! The last bytes of an endless stream, addressed by their offset from its start. Not shared and
//! not typed; an exec keeps one for each output stream and the console keeps one for all.

/// Bytes that a ring allocates first.
const FIRST_ALLOCATION: usize = 4096;

/// Keeps at most `capacity` bytes; the oldest are dropped. Memory grows with what it holds.
#[derive(Debug)]
pub struct Ring {
    bytes: Vec<u8>,
    capacity: usize,
    /// Where the oldest byte is, once `bytes` is as long as `capacity`.
    head: usize,
    end: u64,
}

impl Ring {
    pub const fn new(capacity: usize) -> Self {
        Self { bytes: Vec::new(), capacity, head: 0, end: 0 }
    }

    /// Offset of the oldest byte held.
    pub fn start(&self) -> u64 {
        self.end - self.bytes.len() as u64
    }

    /// Offset past the newest byte: how many were ever pushed.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes of memory in use.
    pub fn footprint(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends, dropping the oldest bytes over the capacity.
    pub fn push(&mut self, data: &[u8]) {
        self.end += data.len() as u64;
        let mut rest = &data[data.len().saturating_sub(self.capacity)..];
        if self.bytes.len() < self.capacity {
            let (fits, more) = rest.split_at(rest.len().min(self.capacity - self.bytes.len()));
            self.grow_for(fits.len());
            self.bytes.extend_from_slice(fits);
            rest = more;
        }
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(self.capacity - self.head));
            self.bytes[self.head..self.head + now.len()].copy_from_slice(now);
            self.head = (self.head + now.len()) % self.capacity;
            rest = later;
        }
    }

    fn grow_for(&mut self, more: usize) {
        let needed = self.bytes.len() + more;
        if needed > self.bytes.capacity() {
            let doubled = (self.bytes.capacity() * 2).max(FIRST_ALLOCATION);
            let target = needed.max(doubled).min(self.capacity);
            self.bytes.reserve_exact(target - self.bytes.len());
        }
    }

    /// Appends to `into` up to `max` bytes from `offset` on, which is taken as `start` when the
    /// byte there is gone.
    pub fn copy_from(&self, offset: u64, max: usize, into: &mut Vec<u8>) {
        let skip = offset.max(self.start()) - self.start();
        let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(self.bytes.len());
        let count = max.min(self.bytes.len() - skip);
        let (newer, older) = self.bytes.split_at(self.head.min(self.bytes.len()));
        let from_older = older.get(skip..).unwrap_or_default();
        let first = &from_older[..count.min(from_older.len())];
        into.extend_from_slice(first);
        let skip_newer = skip.saturating_sub(older.len());
        into.extend_from_slice(&newer[skip_newer..skip_newer + count - first.len()]);
    }

    /// Gives the memory back and holds nothing from now on; offsets keep counting.
    pub fn discard(&mut self) {
        self.bytes = Vec::new();
        self.capacity = 0;
        self.head = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_ring_holds_the_tail_of_all_that_was_pushed(
            capacity in 0_usize..200,
            pushes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..150), 0..20),
            offset in 0_u64..3000,
            max in 0_usize..300,
        ) {
            let mut ring = Ring::new(capacity);
            let mut all = Vec::new();
            for push in &pushes {
                ring.push(push);
                all.extend_from_slice(push);
            }
            prop_assert_eq!(ring.end(), all.len() as u64);
            let start = usize::try_from(ring.start()).unwrap();
            prop_assert_eq!(all.len() - start, all.len().min(capacity));
            let mut copied = Vec::new();
            ring.copy_from(offset, max, &mut copied);
            let from = usize::try_from(offset).unwrap().max(start).min(all.len());
            let to = all.len().min(from + max);
            prop_assert_eq!(&copied[..], &all[from..to]);
            prop_assert!(ring.footprint() <= capacity);
        }
    }

    #[test]
    fn a_discarded_ring_counts_but_holds_nothing() {
        let mut ring = Ring::new(8);
        ring.push(b"abc");
        ring.discard();
        ring.push(b"de");
        assert_eq!((ring.start(), ring.end(), ring.footprint()), (5, 5, 0));
    }
}
