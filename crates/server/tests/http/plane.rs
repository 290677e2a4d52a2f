//! The fixture: an engine, a server, and clients of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::client::{Client, ClientOptions};
use api::{ExecRequest, SpawnRequest};
use engine::{Engine, EngineOptions};
use model::SystemClock;
use provider::MemoryProvider;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use stacyvm_server::{Server, ServerOptions};
use store::Store;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A running server. Dropping it stops it.
pub struct Plane {
    pub client: Client,
    pub http: reqwest::Client,
    pub address: SocketAddr,
    pub provider: MemoryProvider,
    pub engine: Arc<Engine>,
    pub stop: CancellationToken,
    pub served: JoinHandle<()>,
}

/// Options that a test does not wait for: any free port, quick heartbeats, no grace.
pub fn options() -> ServerOptions {
    ServerOptions {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        heartbeat: Duration::from_millis(20),
        shutdown_grace: Duration::from_millis(200),
        ..ServerOptions::default()
    }
}

/// What an engine over the in-memory provider is told.
pub fn engine_options() -> EngineOptions {
    EngineOptions {
        default_provider: "memory".to_owned(),
        max_sandboxes: 8,
        ..EngineOptions::default()
    }
}

/// An engine over the in-memory provider.
pub async fn engine(provider: &MemoryProvider) -> Arc<Engine> {
    engine_with(engine_options(), provider).await
}

async fn engine_with(options: EngineOptions, provider: &MemoryProvider) -> Arc<Engine> {
    let store = Store::open_in_memory().await.unwrap();
    let providers: Vec<Arc<dyn provider::Provider>> = vec![Arc::new(provider.clone())];
    Engine::start(options, store, providers, Arc::new(SystemClock)).await.unwrap()
}

impl Plane {
    pub async fn start() -> Self {
        Self::start_with(options()).await
    }

    pub async fn start_with(options: ServerOptions) -> Self {
        Self::start_both(options, engine_options()).await
    }

    /// A server whose engine has these options.
    pub async fn start_on(options: EngineOptions) -> Self {
        Self::start_both(self::options(), options).await
    }

    async fn start_both(options: ServerOptions, engine: EngineOptions) -> Self {
        let provider = MemoryProvider::default();
        let engine = engine_with(engine, &provider).await;
        let bound = Server::bind(options, engine.clone()).await.unwrap();
        let address = bound.local_addr();
        let stop = CancellationToken::new();
        let served = tokio::spawn(bound.run(stop.clone().cancelled_owned()));
        let client = client(address, None);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { client, http, address, provider, engine, stop, served }
    }

    /// The address of a route below the base.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/api/v1{path}", self.address)
    }

    pub async fn spawn(&self) -> String {
        self.client.spawn(&SpawnRequest::default()).await.unwrap().id
    }

    /// Sends a body as it is and returns the status and the JSON of the answer.
    pub async fn send(&self, method: Method, path: &str, body: &str) -> (StatusCode, Value) {
        let request = self.http.request(method, self.url(path)).body(body.to_owned());
        let response = request.send().await.unwrap();
        let status = response.status();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(Method::GET, path, "").await
    }

    pub async fn post(&self, path: &str, body: &str) -> (StatusCode, Value) {
        self.send(Method::POST, path, body).await
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn client(address: SocketAddr, api_key: Option<&str>) -> Client {
    Client::new(&ClientOptions {
        server: format!("http://{address}"),
        api_key: api_key.map(ToOwned::to_owned),
        user_id: None,
    })
    .unwrap()
}

/// A shell line to run.
pub fn shell(command: &str) -> ExecRequest {
    ExecRequest { command: Some(command.to_owned()), ..ExecRequest::default() }
}

/// An error body is in the one shape, and has this reason.
#[track_caller]
pub fn assert_error(body: &Value, reason: &str) {
    for key in ["code", "message", "reason", "retry", "request_id", "hint"] {
        assert!(body[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {body}");
    }
    assert_eq!(body["reason"], reason, "{body}");
    let known = model::Reason::from_word(reason).unwrap();
    assert_eq!(body["code"], known.code().word(), "{body}");
    assert_eq!(body["retry"], known.retry().word(), "{body}");
    // What is of the host is for the log.
    for inner in ["os error", "/var/", "/tmp/", "/root/", "panicked", "src/"] {
        assert!(!body.to_string().contains(inner), "{inner}: {body}");
    }
}

/// The order in which an object's keys were sent.
pub fn keys(text: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut depth = 0;
    let mut parts = text.split('"').enumerate().peekable();
    while let Some((index, part)) = parts.next() {
        if index % 2 == 0 {
            for c in part.chars() {
                depth += i32::from(matches!(c, '{' | '[')) - i32::from(matches!(c, '}' | ']'));
            }
        } else if depth == 1 && parts.peek().is_some_and(|(_, next)| next.starts_with(':')) {
            keys.push(part.to_owned());
        }
    }
    keys
}
