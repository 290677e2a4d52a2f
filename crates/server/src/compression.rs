//! Compression of archives on their way through. It happens here and not in a sandbox, so that a
//! bomb is found by who counts both sides; each stream has a thread of the blocking pool, and
//! short queues before and behind it.

use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::ArchiveFormat;
use bytes::{Bytes, BytesMut};
use engine::ByteStream;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use futures::StreamExt;
use futures::stream;
use model::failure::Detail;
use model::{Failure, Limit, Reason};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

/// Streams that are compressed or unpacked at once: each has a thread and its buffers.
const STREAMS_MAX: usize = 64;

static STREAMS: Semaphore = Semaphore::const_new(STREAMS_MAX);

/// Chunks that wait before and behind a thread.
const QUEUE: usize = 4;

/// Bytes in a chunk that a thread makes.
const CHUNK_BYTES: usize = 256 * 1024;

/// Up to this size nothing is a bomb, however small it was: 64 MiB.
const RATIO_FREE_BYTES: u64 = 64 << 20;

/// The largest window of a zstd stream, as a power of two: 32 MiB, which all levels but those of
/// `--ultra` and `--long` keep to. Its reader holds that much memory.
const WINDOW_LOG_MAX: u32 = 25;

/// Levels that keep up with a disk.
const GZIP_LEVEL: flate2::Compression = flate2::Compression::new(3);
const ZSTD_LEVEL: i32 = 3;

type Chunk = Result<Bytes, Failure>;

fn slot() -> Result<SemaphorePermit<'static>, Failure> {
    let busy = format!("{STREAMS_MAX} archives are compressed or unpacked already");
    STREAMS.try_acquire().map_err(|_| Failure::new(Reason::Overloaded, busy))
}

/// The format that the first bytes tell of; a tar archive says nothing there.
pub(crate) async fn sniffed(mut body: ByteStream) -> Result<(ByteStream, ArchiveFormat), Failure> {
    let mut head = BytesMut::new();
    while head.len() < 4 {
        let Some(chunk) = body.next().await else { break };
        head.extend_from_slice(&chunk?);
    }
    let format = match head.get(..4) {
        Some([0x1f, 0x8b, _, _]) => ArchiveFormat::Gzip,
        Some([0x28, 0xb5, 0x2f, 0xfd]) => ArchiveFormat::Zstd,
        Some(_) | None => ArchiveFormat::Tar,
    };
    Ok((stream::iter([Ok(head.freeze())]).chain(body).boxed(), format))
}

/// A stream in compressed form. It fails where its source fails.
pub(crate) fn compressed(source: ByteStream, format: ArchiveFormat) -> Result<ByteStream, Failure> {
    if format == ArchiveFormat::Tar {
        return Ok(source);
    }
    through(source, move |input, output| {
        let written = match format {
            ArchiveFormat::Gzip => {
                let mut encoder = GzEncoder::new(output, GZIP_LEVEL);
                io::copy(input, &mut encoder).and_then(|_| encoder.finish().map(drop))
            }
            ArchiveFormat::Tar | ArchiveFormat::Zstd => {
                let encoder = zstd::Encoder::new(output, ZSTD_LEVEL);
                encoder.and_then(|mut encoder| {
                    io::copy(input, &mut encoder).and_then(|_| encoder.finish().map(drop))
                })
            }
        };
        written.map_err(Failure::internal)
    })
}

/// A stream without its compression, which may make it `ratio_max` times as long.
pub(crate) fn plain(
    source: ByteStream,
    format: ArchiveFormat,
    ratio_max: u64,
) -> Result<ByteStream, Failure> {
    if format == ArchiveFormat::Tar {
        return Ok(source);
    }
    through(source, move |input, output| {
        let taken = Arc::clone(&input.taken);
        let mut decoder: Box<dyn Read + '_> = match format {
            ArchiveFormat::Gzip => Box::new(MultiGzDecoder::new(BufReader::new(input))),
            ArchiveFormat::Tar | ArchiveFormat::Zstd => {
                let decoder = zstd::Decoder::new(input).and_then(|mut decoder| {
                    decoder.window_log_max(WINDOW_LOG_MAX)?;
                    Ok(decoder)
                });
                Box::new(decoder.map_err(Failure::internal)?)
            }
        };
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut made: u64 = 0;
        loop {
            let count = match decoder.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(broken(format, error)),
            };
            made += count as u64;
            let allowed = taken.load(Ordering::Relaxed).saturating_mul(ratio_max);
            if made > RATIO_FREE_BYTES.max(allowed) {
                return Err(bomb(ratio_max));
            }
            if output.write_all(&buffer[..count]).is_err() {
                // Nobody reads on.
                return Ok(());
            }
        }
    })
}

fn broken(format: ArchiveFormat, error: io::Error) -> Failure {
    let message = format!("archive: it is no whole {} stream: {error}", format.word());
    Failure::new(Reason::ArchiveInvalid, message).caused_by(error)
}

fn bomb(ratio_max: u64) -> Failure {
    let message = format!("archive: it unpacks to over {ratio_max} times its size");
    Failure::over_limit(Limit::ArchiveRatio, Detail::amount(ratio_max), message)
}

/// Passes a stream through a thread.
fn through(
    mut source: ByteStream,
    work: impl FnOnce(&mut Input, &mut Output) -> Result<(), Failure> + Send + 'static,
) -> Result<ByteStream, Failure> {
    let slot = slot()?;
    let (feed, fed) = mpsc::channel::<Chunk>(QUEUE);
    let (send, mut receive) = mpsc::channel::<Chunk>(QUEUE);
    let feeding = async move {
        while let Some(chunk) = source.next().await {
            let failed = chunk.is_err();
            if feed.send(chunk).await.is_err() || failed {
                break;
            }
        }
    };
    let feeding = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(feeding));
    tokio::task::spawn_blocking(move || {
        let taken = Arc::new(AtomicU64::new(0));
        let mut input = Input { fed, current: Bytes::new(), taken, failure: None };
        let mut output = Output { send, buffer: BytesMut::with_capacity(CHUNK_BYTES) };
        let result = work(&mut input, &mut output);
        let result = result.and_then(|()| output.flush().map_err(Failure::internal));
        // Where the source failed, that is the reason, and not what it led to.
        if let Err(failure) = input.failure.map_or(result, Err) {
            let _ = output.send.blocking_send(Err(failure));
        }
        drop(slot);
    });
    let chunks = stream::poll_fn(move |context| receive.poll_recv(context));
    // The thread ends when either side is dropped; the feeder has to be told.
    Ok(chunks
        .map(move |chunk| {
            let _owned = &feeding;
            chunk
        })
        .boxed())
}

/// The thread's way in.
struct Input {
    fed: mpsc::Receiver<Chunk>,
    current: Bytes,
    /// Bytes that came in so far.
    taken: Arc<AtomicU64>,
    failure: Option<Failure>,
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.fed.blocking_recv() {
                None => return Ok(0),
                Some(Ok(chunk)) => {
                    self.taken.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                    self.current = chunk;
                }
                Some(Err(failure)) => {
                    self.failure = Some(failure);
                    return Err(io::Error::other("the source failed"));
                }
            }
        }
        let count = self.current.len().min(into.len());
        into[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}

/// The thread's way out.
struct Output {
    send: mpsc::Sender<Chunk>,
    buffer: BytesMut,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = self.buffer.split().freeze();
        let sent = self.send.blocking_send(Ok(chunk));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads on"))
    }
}
