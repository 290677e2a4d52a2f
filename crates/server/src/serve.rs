//! Listens, accepts, and stops.
//!
//! The limits are on what costs a stranger nothing: connections, headers, and the time to send
//! them. A body or a stream in progress is never cut while the server runs.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use engine::Engine;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::auth::Keys;
use crate::guard::Origins;
use crate::options::{BindError, ServerOptions};
use crate::preview::PreviewDomain;
use crate::router;
use crate::state::{Peer, Plane, Settings};

/// Connections at once. Each may hold a buffer and two descriptors (a preview); the usual limit of
/// a process is 4096 descriptors and more.
const CONNECTIONS_MAX: usize = 1024;

/// The largest request head. A path of 4 KiB, escaped, is 12 KiB.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Between tries to accept when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The server; see [`Server::bind`].
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Listens, so that clients can connect from now on; they are answered once it runs.
    ///
    /// Refuses an address that other machines reach when no API key is set.
    pub async fn bind(options: ServerOptions, engine: Arc<Engine>) -> Result<Bound, BindError> {
        let keys = Keys::new(options.api_key, options.admin_api_key)?;
        if !options.listen.ip().is_loopback() && !keys.are_set() {
            return Err(BindError::Unprotected(options.listen));
        }
        let origins = Origins::new(&options.cors_allowed_origins)?;
        PreviewDomain::new(&options.preview_domain, options.listen.port())?;
        let address = options.listen;
        let refused = |source: io::Error| {
            if source.kind() == io::ErrorKind::AddrInUse {
                BindError::Taken(address)
            } else {
                BindError::Listen { address, source }
            }
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let settings = Settings {
            keys,
            preview: PreviewDomain::new(&options.preview_domain, address.port())?,
            origins,
            max_body_bytes: options.max_body_bytes,
            heartbeat: options.heartbeat,
        };
        let plane = Plane {
            engine,
            settings: Arc::new(settings),
            stopping: CancellationToken::new(),
            cut: CancellationToken::new(),
            tunnels: TaskTracker::new(),
        };
        let (head_timeout, grace) = (options.head_timeout, options.shutdown_grace);
        Ok(Bound { listener, address, plane, head_timeout, grace })
    }
}

/// A server that listens.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    plane: Plane,
    head_timeout: Duration,
    grace: Duration,
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Bound {
    /// Where it listens, with the port that it really has.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is done; then accepts nothing more, gives requests that are under way
    /// the shutdown grace, and cuts what is left. The engine is left to its owner.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let router = router::service(&self.plane);
        let ending = CancellationToken::new();
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next() => continue,
                accepted = accept(&self.listener, &room) => accepted,
            };
            let Ok((stream, peer)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let (router, ending) = (router.clone(), ending.clone());
            connections.spawn(connection(stream, service(router, peer), self.head_timeout, ending));
        }
        drop(self.listener);
        ending.cancel();
        self.plane.stopping.cancel();
        let ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(self.grace, ended).await.is_err() {
            tracing::warn!(left = connections.len(), "cut requests that were still under way");
        }
        connections.shutdown().await;
        self.plane.cut.cancel();
        self.plane.tunnels.close();
        self.plane.tunnels.wait().await;
    }
}

/// The next connection, once there is room for it.
async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> io::Result<(TcpStream, Peer)> {
    let room = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was closed before it was accepted");
    }
    let socket = stream.as_fd().try_clone_to_owned().ok().map(Arc::new);
    Ok((stream, Peer { address: address.ip(), room: Arc::new(room), socket }))
}

/// The routes, told who is at the other end.
fn service(
    router: Router,
    peer: Peer,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> {
    service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        router.clone().oneshot(request)
    })
}

/// Serves one connection to its end, or to the end of the request that is under way when `ending`.
async fn connection<S>(
    stream: TcpStream,
    service: S,
    head_timeout: Duration,
    ending: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send>,
{
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_header_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(served);
    let result: Result<(), hyper::Error> = tokio::select! {
        result = served.as_mut() => result,
        () = ending.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}
