//! Serves a stream that follows an exec which has ended already: what its rings hold, then its
//! exit. `exec::attach` calls it; a running exec is served by its pump.

use std::sync::Arc;
use std::thread;

use proto::{ExecExit, GuestErrorKind, Kind, Reply};

use super::{Attachment, Exec, PUMP_STACK};
use crate::hold::hold;

/// Bytes copied out of a ring at once.
pub const REPLAY_CHUNK: usize = 64 * 1024;

/// The frames that carry standard output and standard error.
pub const OUTPUT_KINDS: [Kind; 2] = [Kind::Data, Kind::DataErr];

/// Answers on a thread of its own, because the peer may be slow.
pub fn start(exec: Arc<Exec>, attachment: Attachment, exit: ExecExit) {
    let stream = Arc::clone(&attachment.stream);
    let thread = thread::Builder::new().name("replay".into()).stack_size(PUMP_STACK);
    if thread.spawn(move || replay(&exec, &attachment, &exit)).is_err() {
        stream.refuse(GuestErrorKind::Limit, "exec: no thread is left to replay it");
    }
}

fn replay(exec: &Exec, attachment: &Attachment, exit: &ExecExit) {
    let stream = &attachment.stream;
    let Some(mut offsets) = exec.first_offsets(attachment.offsets) else {
        return stream.refuse(GuestErrorKind::Invalid, "offset: past the end of the output");
    };
    let [stdout_offset, stderr_offset] = offsets;
    let mut sent = stream.reply(&Reply::Started { stdout_offset, stderr_offset });
    let mut chunk = Vec::new();
    for (index, kind) in OUTPUT_KINDS.into_iter().enumerate() {
        while sent.is_ok() {
            chunk.clear();
            hold(&exec.rings)[index].copy_from(offsets[index], REPLAY_CHUNK, &mut chunk);
            if chunk.is_empty() {
                break;
            }
            offsets[index] += chunk.len() as u64;
            sent = stream.send_all(kind, &chunk);
        }
    }
    stream.exit(exit);
}

impl Exec {
    /// Where a replay starts that was asked for at `wanted`: later when the bytes are gone,
    /// nowhere when they do not exist yet.
    pub(super) fn first_offsets(&self, wanted: [u64; 2]) -> Option<[u64; 2]> {
        let rings = hold(&self.rings);
        let first = |index: usize| {
            let ring = &rings[index];
            (wanted[index] <= ring.end()).then(|| wanted[index].max(ring.start()))
        };
        Some([first(0)?, first(1)?])
    }
}
