//! Byte streams over a channel: a connected port, and a program's standard input.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf};
use tokio_util::io::StreamReader;

use super::link::Channel;
use crate::guest::ByteStream;

/// What a writer may be ahead of the channel, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// A writer whose bytes go out on the channel; shutting it down, or dropping it, ends the stream
/// in this direction after the last byte.
pub fn writer(channel: Arc<Channel>) -> DuplexStream {
    let (near, far) = tokio::io::duplex(BUFFER_BYTES);
    // The task ends with the writer or with the connection, whichever is first.
    tokio::spawn(pump(far, channel));
    near
}

async fn pump(mut from: DuplexStream, channel: Arc<Channel>) {
    let mut buffer = BytesMut::with_capacity(BUFFER_BYTES);
    while let Ok(1..) = from.read_buf(&mut buffer).await {
        if channel.send_data(buffer.split().freeze()).await.is_err() {
            return;
        }
        buffer.reserve(BUFFER_BYTES);
    }
    channel.send_end();
}

/// A connected port.
pub struct Port {
    reader: StreamReader<BoxStream<'static, io::Result<Bytes>>, Bytes>,
    writer: DuplexStream,
}

impl Port {
    /// Reads from `incoming`, writes to `channel`.
    pub fn new(incoming: ByteStream, channel: Arc<Channel>) -> Self {
        let incoming = incoming.map(|chunk| chunk.map_err(io::Error::other)).boxed();
        Self { reader: StreamReader::new(incoming), writer: writer(channel) }
    }
}

impl AsyncRead for Port {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(context, buffer)
    }
}

impl AsyncWrite for Port {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(context)
    }
}
