//! What a server is told before it starts, and why it may refuse to.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use secrecy::SecretString;
use thiserror::Error;

/// The largest JSON body. Text files written through JSON are the largest thing in one; a larger
/// file is sent as `application/octet-stream`, which has no limit.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Silence on a stream after which a proxy may close it is 30 s at the least; half of it.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What a stream gets to end by itself when the server stops, as the published server gives.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// For a request's head to arrive, from the first moment of a connection or the last request on
/// it. As published.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where to listen; port 0 takes any free port. Default: 127.0.0.1:7423.
    pub listen: SocketAddr,
    /// The credential of every route but the health checks. Needed for an address that is not
    /// loopback. Default: none.
    pub api_key: Option<SecretString>,
    /// A second credential, accepted wherever the first one is. Default: none.
    pub admin_api_key: Option<SecretString>,
    /// The domain under which ports of sandboxes are reached, with a port if it is not 80.
    /// `localhost` without a port gets the bound one. Default: `localhost`.
    pub preview_domain: String,
    /// Web pages of these origins may call the API; `*` is any. Default: none.
    pub cors_allowed_origins: Vec<String>,
    /// The largest JSON body, in bytes. Default: 16 MiB.
    pub max_body_bytes: usize,
    /// How long a stream may be silent before it says that it is there. Default: 15 s.
    pub heartbeat: Duration,
    /// How long a connection may be open without a complete request head. Default: 30 s.
    pub head_timeout: Duration,
    /// How long requests may go on when the server stops. Default: 10 s.
    pub shutdown_grace: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, api::paths::DEFAULT_PORT)),
            api_key: None,
            admin_api_key: None,
            preview_domain: "localhost".to_owned(),
            cors_allowed_origins: Vec::new(),
            max_body_bytes: BODY_BYTES_MAX,
            heartbeat: HEARTBEAT,
            head_timeout: HEAD_TIMEOUT,
            shutdown_grace: SHUTDOWN_GRACE,
        }
    }
}

/// Why a server does not start.
#[derive(Debug, Error)]
pub enum BindError {
    /// The address can be reached from other machines, and no API key is set.
    #[error("listen on {0}: an address that other machines reach needs an API key (auth.api_key)")]
    Unprotected(SocketAddr),
    /// An API key is empty, or cannot be sent in a header.
    #[error("use {0}: a key is 1 to 512 visible ASCII characters")]
    Key(&'static str),
    /// The preview domain is not a domain.
    #[error(
        "use server.preview_domain `{0}`: expected a domain name in lower case, or domain:port"
    )]
    PreviewDomain(String),
    /// A CORS origin is not an origin.
    #[error("use server.cors_allowed_origins `{0}`: expected scheme://host or scheme://host:port")]
    Origin(String),
    /// Another program listens there already.
    #[error("listen on {0}: the port is taken by another program")]
    Taken(SocketAddr),
    /// The system refuses the address.
    #[error("listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl BindError {
    /// The way out, for people.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unprotected(_) => "set auth.api_key, or listen on 127.0.0.1",
            Self::Key(_) => "set another key, for example 32 random characters",
            Self::PreviewDomain(_) => "for example localhost, or preview.example.com:8080",
            Self::Origin(_) => "for example http://localhost:3000, or * for any",
            Self::Taken(_) => "stop the other program, or choose another port with --listen",
            Self::Listen { .. } => "choose an address of this machine with --listen",
        }
    }
}
