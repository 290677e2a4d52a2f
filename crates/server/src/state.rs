//! What every request shares.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::Engine;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::Keys;
use crate::convert;
use crate::guard::Origins;
use crate::preview::PreviewDomain;

/// The engine and the settings; cheap to clone.
#[derive(Clone)]
pub(crate) struct Plane {
    pub(crate) engine: Arc<Engine>,
    pub(crate) settings: Arc<Settings>,
    /// Set when the server begins to stop: what has no end of its own ends, event streams and
    /// tunnels.
    pub(crate) stopping: CancellationToken,
    /// Set when the time for requests to end by themselves is over.
    pub(crate) cut: CancellationToken,
    /// Owns the tasks that outlive their request: connections to previewed ports.
    pub(crate) tunnels: TaskTracker,
}

/// What does not change while the server runs.
pub(crate) struct Settings {
    pub(crate) keys: Keys,
    pub(crate) preview: PreviewDomain,
    pub(crate) origins: Origins,
    pub(crate) max_body_bytes: usize,
    pub(crate) heartbeat: Duration,
}

/// Who is at the other end of the connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// The connection's share of how many there may be; held by all that is made of it.
    pub(crate) room: Arc<OwnedSemaphorePermit>,
    /// The connection's descriptor once more, by which its end can be seen while nothing is read.
    pub(crate) socket: Option<Arc<OwnedFd>>,
}

/// The description of the API, as it is sent.
#[derive(Clone)]
pub(crate) struct Document(pub(crate) Bytes);

impl Plane {
    /// A sandbox as clients see it.
    pub(crate) fn sandbox(&self, sandbox: model::Sandbox) -> api::Sandbox {
        convert::sandbox(sandbox, &self.settings.preview.published())
    }

    /// That the server is there, in one word of its own and the same others.
    pub(crate) fn health(&self, word: &str) -> api::Health {
        api::Health {
            status: word.to_owned(),
            uptime: convert::uptime(self.engine.now(), self.engine.started_at()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}
