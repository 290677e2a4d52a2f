//! What happens to files, line by line as the agent tells it.

use bytes::BytesMut;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use model::{Failure, FileEvent};

use super::convert;
use crate::guest::ByteStream;

/// The longest line: two paths of the kernel's own limit, each byte written as six.
const LINE_BYTES_MAX: usize = 64 * 1024;

struct Lines {
    chunks: ByteStream,
    pending: BytesMut,
}

/// The events in a listing.
pub fn events(chunks: ByteStream) -> BoxStream<'static, Result<FileEvent, Failure>> {
    let lines = Lines { chunks, pending: BytesMut::new() };
    stream::unfold(Some(lines), |lines| async {
        let mut lines = lines?;
        match lines.next().await {
            Ok(Some(event)) => Some((Ok(event), Some(lines))),
            Ok(None) => None,
            Err(failure) => Some((Err(failure), None)),
        }
    })
    .boxed()
}

impl Lines {
    async fn next(&mut self) -> Result<Option<FileEvent>, Failure> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line = self.pending.split_to(end + 1);
                let event = serde_json::from_slice(&line)
                    .map_err(|_| convert::protocol_broken("an event of a file"))?;
                return Ok(Some(convert::file_event(event)));
            }
            if self.pending.len() > LINE_BYTES_MAX {
                return Err(convert::protocol_broken("a line within its limit"));
            }
            match self.chunks.next().await {
                None => return Ok(None),
                Some(chunk) => self.pending.extend_from_slice(&chunk?),
            }
        }
    }
}
