//! Running programs through the client.

use std::pin::Pin;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use reqwest::Method;

use crate::exec::{Encoding, ExecExit, ExecLine, ExecRequest, ExecResult};

use super::lines::lines;
use super::{Client, ClientError, decode};

/// What a program did next, byte-exact.
#[derive(Clone, Debug, PartialEq)]
pub enum ExecChunk {
    /// It wrote to standard output.
    Stdout(Bytes),
    /// It wrote to standard error.
    Stderr(Bytes),
    /// So many bytes of its output are missing: they were no longer kept.
    Lost(u64),
    /// It ended; nothing comes after this.
    Exit(Box<ExecExit>),
}

/// A program that is being followed. Dropping it closes the connection.
pub type ExecStream = Pin<Box<dyn Stream<Item = Result<ExecChunk, ClientError>> + Send>>;

impl Client {
    /// Runs a program and waits for its end, however long that takes.
    pub async fn exec(&self, id: &str, request: &ExecRequest) -> Result<ExecResult, ClientError> {
        let request = ExecRequest { stream: None, ..request.clone() };
        let url = self.url(&["sandboxes", id, "exec"], &[]);
        decode(self.send(self.request(Method::POST, url).json(&request)).await?).await
    }

    /// Runs a program and follows its output. The stream ends with [`ExecChunk::Exit`] or with an
    /// error, never without either.
    pub async fn exec_stream(
        &self,
        id: &str,
        request: &ExecRequest,
    ) -> Result<ExecStream, ClientError> {
        let request =
            ExecRequest { stream: Some(true), encoding: Some(Encoding::Base64), ..request.clone() };
        let url = self.url(&["sandboxes", id, "exec"], &[]);
        let response = self.send(self.request(Method::POST, url).json(&request)).await?;
        Ok(output(response))
    }
}

/// The output in a streamed answer.
pub(super) fn output(response: reqwest::Response) -> ExecStream {
    chunks(Box::pin(lines(response.bytes_stream())))
}

fn chunks(lines: Pin<Box<dyn Stream<Item = Result<Bytes, ClientError>> + Send>>) -> ExecStream {
    let stream = stream::unfold(Some(lines), |lines| async {
        let mut lines = lines?;
        loop {
            let chunk = match lines.next().await {
                None => Err(ClientError::Stream { problem: "it ended before the program" }),
                Some(Err(error)) => Err(error),
                Some(Ok(line)) => match chunk(&line) {
                    Ok(None) => continue,
                    Ok(Some(chunk)) => Ok(chunk),
                    Err(error) => Err(error),
                },
            };
            let over = matches!(chunk, Err(_) | Ok(ExecChunk::Exit(_)));
            return Some((chunk, (!over).then_some(lines)));
        }
    });
    Box::pin(stream)
}

fn chunk(line: &[u8]) -> Result<Option<ExecChunk>, ClientError> {
    let bytes = |data: String| {
        STANDARD
            .decode(data)
            .map(Bytes::from)
            .map_err(|_| ClientError::Stream { problem: "a line is not in base64" })
    };
    Ok(match serde_json::from_slice(line).map_err(ClientError::Answer)? {
        ExecLine::Stdout { data, .. } => Some(ExecChunk::Stdout(bytes(data)?)),
        ExecLine::Stderr { data, .. } => Some(ExecChunk::Stderr(bytes(data)?)),
        ExecLine::Gap { lost, .. } => Some(ExecChunk::Lost(lost)),
        ExecLine::Heartbeat { .. } => None,
        ExecLine::Exit(exit) => Some(ExecChunk::Exit(exit)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(text: &'static str) -> Vec<Result<ExecChunk, ClientError>> {
        let lines = text.lines().map(|line| Ok(Bytes::from_static(line.as_bytes())));
        futures::executor::block_on(chunks(Box::pin(stream::iter(lines))).collect())
    }

    #[test]
    fn output_is_decoded_and_heartbeats_are_skipped() {
        let chunks = follow(concat!(
            "{\"stream\":\"stdout\",\"data\":\"/w==\",\"seq\":1}\n",
            "{\"stream\":\"heartbeat\",\"data\":\"\"}\n",
            "{\"stream\":\"exit\",\"data\":\"\",\"outcome\":\"exited\",\"exit_code\":3,",
            "\"duration\":\"1ms\",\"truncated\":false,\"stdout_bytes\":1,\"stderr_bytes\":0,",
            "\"usage\":{\"cpu_ms\":0,\"memory_peak_bytes\":0},\"exec_id\":\"ex-1\"}\n",
        ));
        assert_eq!(chunks.len(), 2);
        assert_eq!(*chunks[0].as_ref().unwrap(), ExecChunk::Stdout(Bytes::from_static(b"\xff")));
        assert!(matches!(&chunks[1], Ok(ExecChunk::Exit(exit)) if exit.exit_code == 3));
    }

    #[test]
    fn a_stream_that_stops_short_is_an_error() {
        assert!(matches!(follow("").as_slice(), [Err(ClientError::Stream { .. })]));
        assert!(matches!(follow("rubbish").as_slice(), [Err(ClientError::Answer(_))]));
    }
}
