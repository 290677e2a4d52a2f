//! Cuts a byte stream into lines, each within a limit.

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream, StreamExt, TryStreamExt};

use super::error::ClientError;

/// The longest line: the server writes at most some 100 KiB into one.
const LINE_BYTES_MAX: usize = 1024 * 1024;

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, reqwest::Error>> + Send>>;

struct State {
    chunks: Chunks,
    pending: BytesMut,
    /// How much of `pending` is known to have no line feed.
    searched: usize,
}

/// The lines of `chunks`, without their line feeds. A last line without one is dropped: it was
/// cut off.
pub(super) fn lines(
    chunks: impl Stream<Item = Result<Bytes, reqwest::Error>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, ClientError>> + Send {
    let state = State { chunks: Box::pin(chunks), pending: BytesMut::new(), searched: 0 };
    stream::try_unfold(state, |mut state| async move {
        loop {
            let fresh = &state.pending[state.searched..];
            if let Some(at) = fresh.iter().position(|byte| *byte == b'\n') {
                let mut line = state.pending.split_to(state.searched + at + 1);
                line.truncate(line.len() - 1);
                state.searched = 0;
                return Ok(Some((line.freeze(), state)));
            }
            state.searched = state.pending.len();
            if state.searched > LINE_BYTES_MAX {
                return Err(ClientError::Stream { problem: "a line is over its limit" });
            }
            match state.chunks.next().await {
                None => return Ok(None),
                Some(Ok(chunk)) => state.pending.extend_from_slice(&chunk),
                Some(Err(source)) => return Err(ClientError::Transport(source.without_url())),
            }
        }
    })
    .into_stream()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: Vec<Bytes>) -> Vec<Result<Bytes, ClientError>> {
        let stream = stream::iter(chunks.into_iter().map(Ok));
        futures::executor::block_on(lines(stream).collect())
    }

    #[test]
    fn lines_are_found_across_chunks() {
        let chunks = ["a", "b\n", "\nc", "d\ne"].map(Bytes::from).to_vec();
        let lines: Vec<_> = cut(chunks).into_iter().map(Result::unwrap).collect();
        assert_eq!(lines, ["ab", "", "cd"]);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let lines = cut(vec![Bytes::from(vec![b'a'; LINE_BYTES_MAX + 1])]);
        assert!(matches!(lines.as_slice(), [Err(ClientError::Stream { .. })]));
    }
}
