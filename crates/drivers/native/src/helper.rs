//! The other end of the jail helper: requests out, replies in any order.
//!
//! The helper is started on first use and again when it has died. It is asked with typed
//! messages and may be asked many things at once.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jail::launch::{launch, sealed};
use jail::wire::{
    Answer, Call, Configure, ErrorKind, GENERATION, JailError, MESSAGE_BYTES_MAX, Reply, Request,
};
use model::{Failure, Reason};
use tokio::net::UnixDatagram;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

const AGENT: &[u8] = include_bytes!(env!("STACYVM_AGENT"));
const HELPER: &[u8] = include_bytes!(env!("STACYVM_JAIL"));

/// How long a helper may take to end after its socket was closed. An ephemeral one destroys its
/// sandboxes first.
const END_DEADLINE: Duration = Duration::from_secs(30);

/// How a helper is to be configured.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The control plane's name on this host.
    pub instance: String,
    /// Where sandboxes live.
    pub state_dir: PathBuf,
    /// Whether they end with the helper.
    pub ephemeral: bool,
}

type Waiting = HashMap<u64, oneshot::Sender<Result<Answer, JailError>>>;

struct Shared {
    socket: UnixDatagram,
    /// `None` once the helper is gone.
    waiting: Mutex<Option<Waiting>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().expect("nothing panics while it holds the table")
    }
}

struct Running {
    shared: Arc<Shared>,
    next_id: AtomicU64,
    child: Child,
    reader: AbortOnDropHandle<()>,
}

/// The helper, running or to be started.
pub struct Helper {
    setup: Setup,
    running: tokio::sync::Mutex<Option<Arc<Running>>>,
}

impl fmt::Debug for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Helper").field("setup", &self.setup).finish_non_exhaustive()
    }
}

impl Helper {
    /// A helper that is started when it is first asked.
    pub fn new(setup: Setup) -> Self {
        Self { setup, running: tokio::sync::Mutex::new(None) }
    }

    /// Asks the helper.
    pub async fn call(&self, call: Call) -> Result<Answer, Failure> {
        let running = self.running().await?;
        running.call(call).await.map_err(failure)
    }

    /// Closes the helper's socket and waits until it has ended.
    pub async fn close(&self) {
        let Some(running) = self.running.lock().await.take() else { return };
        let Some(running) = Arc::into_inner(running) else {
            tracing::warn!("the jail helper was closed while it was being asked");
            return;
        };
        let Running { shared, mut child, reader, .. } = running;
        reader.abort();
        // The reader's clone of the socket goes with it; the helper then reads end of file.
        let _ = reader.await;
        drop(shared);
        let waited = tokio::task::spawn_blocking(move || child.wait());
        if tokio::time::timeout(END_DEADLINE, waited).await.is_err() {
            tracing::warn!("the jail helper did not end within {}s", END_DEADLINE.as_secs());
        }
    }

    async fn running(&self) -> Result<Arc<Running>, Failure> {
        let mut slot = self.running.lock().await;
        if let Some(running) = slot.as_ref() {
            if running.shared.lock().is_some() {
                return Ok(Arc::clone(running));
            }
            tracing::warn!("the jail helper has died; starting another");
        }
        let running = Arc::new(start().map_err(cannot_start)?);
        let configure = Configure {
            generation: GENERATION,
            instance: self.setup.instance.clone(),
            state_dir: self.setup.state_dir.clone(),
            ephemeral: self.setup.ephemeral,
        };
        running.call(Call::Configure(configure)).await.map_err(failure)?;
        *slot = Some(Arc::clone(&running));
        Ok(running)
    }
}

fn start() -> std::io::Result<Running> {
    let helper = sealed("stacyvm-jail", HELPER)?;
    let agent = sealed("stacyvm-agent", AGENT)?;
    let launched = launch(&helper, &agent)?;
    // Sending and receiving packets is the same for a connected datagram socket, which is the
    // nearest type that there is; an empty packet is end of file.
    let socket = std::os::unix::net::UnixDatagram::from(launched.socket);
    socket.set_nonblocking(true)?;
    let socket = UnixDatagram::from_std(socket)?;
    let shared = Arc::new(Shared { socket, waiting: Mutex::new(Some(HashMap::new())) });
    let reader = tokio::spawn(read_replies(Arc::clone(&shared)));
    Ok(Running {
        shared,
        next_id: AtomicU64::new(1),
        child: launched.child,
        reader: AbortOnDropHandle::new(reader),
    })
}

async fn read_replies(shared: Arc<Shared>) {
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    loop {
        let reply = match shared.socket.recv(&mut buffer).await {
            Ok(len @ 1..) => serde_json::from_slice::<Reply>(&buffer[..len]),
            Ok(0) | Err(_) => break,
        };
        let Ok(reply) = reply else { break };
        let waiting = shared.lock().as_mut().and_then(|waiting| waiting.remove(&reply.id));
        if let Some(waiting) = waiting {
            let _ = waiting.send(reply.result);
        }
    }
    *shared.lock() = None;
}

impl Running {
    async fn call(&self, call: Call) -> Result<Answer, JailError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let bytes = serde_json::to_vec(&Request { id, call }).map_err(|_| gone())?;
        let (sender, answered) = oneshot::channel();
        match self.shared.lock().as_mut() {
            Some(waiting) => waiting.insert(id, sender),
            None => return Err(gone()),
        };
        self.shared.socket.send(&bytes).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

fn gone() -> JailError {
    JailError { kind: ErrorKind::Busy, message: "the jail helper has died".into() }
}

fn cannot_start(error: std::io::Error) -> Failure {
    Failure::new(Reason::ProviderUnavailable, "the native provider's helper cannot be started")
        .caused_by(error)
}

/// A jail's error as callers see it: what is of the host stays in the cause.
fn failure(error: JailError) -> Failure {
    let failure = match &error.kind {
        ErrorKind::Invalid { field } => {
            Failure::invalid_field(field, "the native provider does not accept this value")
        }
        ErrorKind::Absent => Failure::new(Reason::SandboxGone, "the sandbox does not exist"),
        ErrorKind::NoSpace => {
            Failure::new(Reason::ProviderUnavailable, "the host's state directory is full")
                .hint("free space or inodes on the file system of the data directory")
        }
        ErrorKind::Limit => {
            Failure::new(Reason::ProviderUnavailable, "a limit of the host is reached")
                .hint("too many processes, namespaces or open files on the host; see the log")
        }
        ErrorKind::Unsupported => {
            Failure::new(Reason::ProviderUnavailable, "the host cannot run native sandboxes")
                .hint("`GET /api/v1/providers/native` says what is missing and how to mend it")
        }
        ErrorKind::Busy => Failure::new(Reason::ProviderUnavailable, "the native provider is busy"),
        ErrorKind::Internal => return Failure::internal(error),
    };
    failure.caused_by(error)
}
