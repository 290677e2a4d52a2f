//! One connection to an agent, and the streams on it.
//!
//! A reader task hands frames to the inboxes of their streams, a writer task sends what streams
//! have to say. Whatever an agent does wrong closes its own connection and nothing else.

use std::collections::HashMap;
use std::fmt;
use std::io::IoSlice;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use model::{Failure, Reason};
use proto::frame::decode_window;
use proto::{FrameError, GENERATION, HEADER_LEN, Header, Hello, INITIAL_WINDOW, Kind, MAX_PAYLOAD};
use proto::{OLDEST_GENERATION, Reply, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::convert;
use super::inbox::{Inbox, Item, Violation};

/// How long an agent may take to say hello: it does so before it does anything else.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);

/// Credit past which an agent that grants more is not honest: 16 times the first window.
const CREDIT_MAX: usize = INITIAL_WINDOW as usize * 16;

/// A data frame's payload when there is enough to send.
const CHUNK_BYTES: usize = MAX_PAYLOAD;

/// Bytes read ahead: many small frames at once, while most of a large one goes straight into its
/// own memory.
const READ_BUFFER: usize = 16 * 1024;

/// Frames that are written at once, as far as there are as many.
const BATCH_FRAMES: usize = 32;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The transport failed or was closed.
    #[error("lost the connection to the agent")]
    Io(#[from] std::io::Error),
    /// The agent sent what is not a frame.
    #[error("read what is not a frame")]
    Frame(#[from] FrameError),
    /// The agent broke the rules of a stream.
    #[error("read what breaks the rules of a stream")]
    Violation(#[from] Violation),
    /// The agent's first frame is not a hello that this build understands.
    #[error("read no hello of a known generation")]
    Hello,
}

struct Outgoing {
    header: Header,
    payload: Bytes,
}

struct StreamState {
    inbox: Arc<Inbox>,
    credit: Arc<Semaphore>,
}

#[derive(Default)]
struct Table {
    streams: HashMap<u32, StreamState>,
    pings: HashMap<u64, oneshot::Sender<()>>,
    closed: bool,
}

struct Shared {
    table: Mutex<Table>,
    outbox: mpsc::UnboundedSender<Outgoing>,
}

/// A connection to an agent. The last owner that drops it closes it.
pub struct Link {
    shared: Arc<Shared>,
    next_stream: AtomicU32,
    agent: u64,
    _reader: AbortOnDropHandle<()>,
    _writer: AbortOnDropHandle<()>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("agent", &self.agent).finish_non_exhaustive()
    }
}

impl Link {
    /// Says hello on a fresh transport and starts to carry streams.
    pub async fn open<T>(transport: T) -> Result<Arc<Self>, LinkError>
    where
        T: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (read, mut write) = tokio::io::split(transport);
        let mut read = BufReader::with_capacity(READ_BUFFER, read);
        let hello = tokio::time::timeout(HELLO_DEADLINE, shake(&mut read, &mut write));
        let hello = hello.await.map_err(|_| LinkError::Hello)??;
        let (outbox, queue) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared { table: Mutex::default(), outbox });
        let reader = tokio::spawn(run_reader(read, Arc::clone(&shared)));
        let writer = tokio::spawn(run_writer(write, queue, Arc::clone(&shared)));
        Ok(Arc::new(Self {
            shared,
            next_stream: AtomicU32::new(1),
            agent: hello.agent,
            _reader: AbortOnDropHandle::new(reader),
            _writer: AbortOnDropHandle::new(writer),
        }))
    }

    /// Whether frames can still be sent and read.
    pub fn is_open(&self) -> bool {
        !self.shared.lock().closed && self.next_stream.load(Ordering::Relaxed) < u32::MAX / 2
    }

    /// Starts a stream with a request.
    pub fn request(self: &Arc<Self>, request: &Request) -> Result<Channel, Failure> {
        let payload = serde_json::to_vec(request).map_err(Failure::internal)?;
        if payload.len() > MAX_PAYLOAD {
            let message = format!("the request is over the limit of {MAX_PAYLOAD} bytes");
            return Err(Failure::new(Reason::TooLarge, message));
        }
        let id = self.next_stream.fetch_add(1, Ordering::Relaxed);
        let inbox = Arc::new(Inbox::new());
        let credit = Arc::new(Semaphore::new(INITIAL_WINDOW as usize));
        {
            let mut table = self.shared.lock();
            if table.closed {
                return Err(convert::connection_lost());
            }
            let state = StreamState { inbox: Arc::clone(&inbox), credit: Arc::clone(&credit) };
            table.streams.insert(id, state);
        }
        let channel = Channel { link: Arc::clone(self), id, inbox, credit };
        channel.send(Kind::Open, payload.into());
        Ok(channel)
    }

    /// Waits for the answer to a ping.
    pub async fn ping(&self) -> Result<(), Failure> {
        let (sender, answered) = oneshot::channel();
        let nonce = u64::from(self.next_stream.fetch_add(1, Ordering::Relaxed));
        self.shared.lock().pings.insert(nonce, sender);
        self.shared.send(Kind::Ping, 0, Bytes::copy_from_slice(&nonce.to_le_bytes()));
        answered.await.map_err(|_| convert::connection_lost())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("nothing panics while it holds the table")
    }

    /// Queues a frame. The queue needs no bound of its own: data is bounded by credit, and each
    /// stream has a handful of other frames. A closed connection swallows it.
    fn send(&self, kind: Kind, stream: u32, payload: Bytes) {
        let header = Header::of(kind, stream, &payload);
        let _ = self.outbox.send(Outgoing { header, payload });
    }

    fn close(&self) {
        let mut table = self.lock();
        table.closed = true;
        table.pings.clear();
        for (_, stream) in table.streams.drain() {
            stream.inbox.close();
            stream.credit.close();
        }
    }
}

/// One stream: what the host sent on it and what it gets back. Dropping it tells the agent to
/// give the stream up.
#[derive(Debug)]
pub struct Channel {
    link: Arc<Link>,
    id: u32,
    inbox: Arc<Inbox>,
    credit: Arc<Semaphore>,
}

impl Channel {
    /// The next frame, or `None` when the connection is lost. Data that is taken is granted to
    /// the agent again.
    pub async fn next(&self) -> Option<Item> {
        let item = self.inbox.next().await?;
        if item.kind.is_data() && !item.payload.is_empty() {
            self.inbox.refill(item.payload.len());
            let granted = u32::try_from(item.payload.len()).unwrap_or(u32::MAX);
            self.send(Kind::Window, Bytes::copy_from_slice(&granted.to_le_bytes()));
        }
        Some(item)
    }

    /// The agent's reply, which must come next.
    pub async fn reply(&self, deadline: Duration) -> Result<Reply, Failure> {
        let item = tokio::time::timeout(deadline, self.next())
            .await
            .map_err(|_| convert::no_answer(deadline))?
            .ok_or_else(convert::connection_lost)?;
        if item.kind == Kind::Reset {
            return Err(convert::reset(&item.payload));
        }
        if item.kind != Kind::Reply {
            return Err(convert::protocol_broken("a reply"));
        }
        match serde_json::from_slice(&item.payload) {
            Ok(Reply::Error(error)) => Err(convert::guest_error(error)),
            Ok(Reply::BadArchive { member, message }) => Err(convert::bad_archive(member, message)),
            Ok(Reply::OverLimit { limit, max, message }) => {
                Err(convert::over_limit(limit, max, message))
            }
            Ok(reply) => Ok(reply),
            Err(_) => Err(convert::protocol_broken("a known reply")),
        }
    }

    /// Sends bytes, as fast as the agent grants credit.
    pub async fn send_data(&self, mut bytes: Bytes) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let chunk = bytes.split_to(bytes.len().min(CHUNK_BYTES));
            let wanted = u32::try_from(chunk.len()).expect("CHUNK_BYTES fits u32");
            let permit = self.credit.acquire_many(wanted).await;
            permit.map_err(|_| convert::connection_lost())?.forget();
            self.send(Kind::Data, chunk);
        }
        Ok(())
    }

    /// Says that no more bytes will be sent.
    pub fn send_end(&self) {
        self.send(Kind::End, Bytes::new());
    }

    fn send(&self, kind: Kind, payload: Bytes) {
        self.link.shared.send(kind, self.id, payload);
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // An agent that has finished the stream ignores the reset.
        if self.link.shared.lock().streams.remove(&self.id).is_some() {
            self.send(Kind::Reset, Bytes::new());
        }
    }
}

async fn shake<R, W>(read: &mut R, write: &mut W) -> Result<Hello, LinkError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let ours = Hello { generation: GENERATION, agent: 0 };
    let payload = serde_json::to_vec(&ours).map_err(|_| LinkError::Hello)?;
    write.write_all(&Header::of(Kind::Hello, 0, &payload).encode()).await?;
    write.write_all(&payload).await?;
    write.flush().await?;
    let (header, payload) = read_frame(read).await?;
    if header.kind != Kind::Hello {
        return Err(LinkError::Hello);
    }
    let theirs: Hello = serde_json::from_slice(&payload).map_err(|_| LinkError::Hello)?;
    if theirs.generation < OLDEST_GENERATION {
        return Err(LinkError::Hello);
    }
    Ok(theirs)
}

async fn read_frame<R: AsyncRead + Unpin>(read: &mut R) -> Result<(Header, BytesMut), LinkError> {
    let mut bytes = [0; HEADER_LEN];
    read.read_exact(&mut bytes).await?;
    let header = Header::decode(bytes)?;
    let length = header.len as usize;
    let mut payload = BytesMut::with_capacity(length);
    while payload.len() < length {
        let left = length - payload.len();
        if read.read_buf(&mut (&mut payload).limit(left)).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
    }
    Ok((header, payload))
}

async fn run_reader<R: AsyncRead + Unpin>(mut read: R, shared: Arc<Shared>) {
    loop {
        let frame = read_frame(&mut read).await;
        if let Err(error) = frame.and_then(|(header, payload)| dispatch(&shared, header, payload)) {
            tracing::debug!(error = &error as &dyn std::error::Error, "an agent link ended");
            shared.close();
            return;
        }
    }
}

/// Hands a frame to whom it is for. Frames of streams that were given up are dropped.
fn dispatch(shared: &Shared, header: Header, payload: BytesMut) -> Result<(), LinkError> {
    let mut table = shared.lock();
    match header.kind {
        Kind::Pong => {
            let nonce = payload.as_ref().try_into().map(u64::from_le_bytes);
            if let Some(answered) = nonce.ok().and_then(|nonce| table.pings.remove(&nonce)) {
                let _ = answered.send(());
            }
        }
        Kind::Window => {
            let granted = decode_window(&payload)? as usize;
            if let Some(stream) = table.streams.get(&header.stream) {
                if stream.credit.available_permits() + granted > CREDIT_MAX {
                    return Err(Violation::Window.into());
                }
                stream.credit.add_permits(granted);
            }
        }
        Kind::Reply | Kind::Data | Kind::DataErr | Kind::End | Kind::Reset | Kind::Exit => {
            if let Some(stream) = table.streams.get(&header.stream) {
                stream.inbox.push(header.kind, payload)?;
            }
        }
        Kind::Hello | Kind::Open | Kind::Ping => return Err(LinkError::Hello),
    }
    Ok(())
}

async fn run_writer<W: AsyncWrite + Unpin>(
    mut write: W,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
    shared: Arc<Shared>,
) {
    let mut batch = Vec::with_capacity(BATCH_FRAMES);
    while queue.recv_many(&mut batch, BATCH_FRAMES).await > 0 {
        if write_frames(&mut write, &batch).await.is_err() {
            break;
        }
        batch.clear();
    }
    shared.close();
}

/// Writes frames from where their bytes are.
async fn write_frames<W: AsyncWrite + Unpin>(
    write: &mut W,
    frames: &[Outgoing],
) -> std::io::Result<()> {
    let headers: Vec<_> = frames.iter().map(|frame| frame.header.encode()).collect();
    let parts = headers.iter().zip(frames);
    let mut slices: Vec<_> = parts
        .flat_map(|(header, frame)| [IoSlice::new(header), IoSlice::new(&frame.payload)])
        .collect();
    let mut left = slices.as_mut_slice();
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match write.write_vectored(left).await? {
            0 => return Err(std::io::ErrorKind::WriteZero.into()),
            count => IoSlice::advance_slices(&mut left, count),
        }
    }
    write.flush().await
}
