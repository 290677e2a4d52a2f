//! The one Rust client of the REST API: a typed method for every route.
//!
//! It converts nothing to domain values and retries nothing; callers decide that. Used by the
//! command line and by tests.

mod error;
mod exec;
mod execs;
mod files;
mod lines;
mod sandboxes;
mod socket;
mod system;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::{ApiError, ClientError};
pub use exec::{ExecChunk, ExecStream};
pub use files::{FileEventStream, FileStream, WriteIf};
pub use socket::{ExecMessage, ExecReceiver, ExecSender};
pub use system::EventStream;

use crate::error::ErrorBody;
use crate::paths;

/// To connect: a server that is there answers at once, a network that is slow in this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// For an answer to a call that the server itself bounds, with room for its longest step, a create
/// or a destroy of a minute. Execs, file contents and events have no limit.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(150);

/// A connection to one server. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

/// How to reach a server.
#[derive(Clone, Default)]
pub struct ClientOptions {
    /// The server's address: `http://127.0.0.1:7423`.
    pub server: String,
    /// The API key, if the server wants one.
    pub api_key: Option<String>,
    /// Whom sandboxes are attributed to.
    pub user_id: Option<String>,
}

impl Client {
    /// A client of the server in `options`; nothing is sent yet. A server on this host is always
    /// reached directly, any other through the proxies that the environment names.
    pub fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        let base = server_url(&options.server)?;
        let mut headers = HeaderMap::new();
        for (name, value) in
            [(paths::API_KEY, &options.api_key), (paths::USER_ID, &options.user_id)]
        {
            if let Some(value) = value {
                let mut value = HeaderValue::from_str(value)
                    .map_err(|_| ClientError::Header { name: name.to_owned() })?;
                value.set_sensitive(name == paths::API_KEY);
                let name = HeaderName::from_bytes(name.as_bytes())
                    .expect("the names of our headers are header names");
                headers.insert(name, value);
            }
        }
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(ClientError::Setup)?;
        Ok(Self { http, base })
    }

    /// The server's address.
    pub fn server(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The address of a route; each of `segments` is escaped.
    fn url(&self, segments: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        {
            let mut path = url.path_segments_mut().expect("the address was checked to be http");
            path.pop_if_empty().extend(["api", "v1"]).extend(segments);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url)
    }

    /// Sends a request whose answer the server bounds, and reads the answer.
    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        decode(self.send(request.timeout(ANSWER_TIMEOUT)).await?).await
    }

    async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<T, ClientError> {
        self.answer(self.request(Method::GET, url)).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        url: Url,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.answer(self.request(Method::POST, url).json(body)).await
    }

    async fn delete<T: DeserializeOwned>(&self, url: Url) -> Result<T, ClientError> {
        self.answer(self.request(Method::DELETE, url)).await
    }

    /// Sends a request and turns an error answer into an [`ApiError`].
    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|source| self.transport(source))?;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let body = response.bytes().await.map_err(|source| self.transport(source))?;
        let body = serde_json::from_slice(&body).unwrap_or_else(|_| ErrorBody {
            code: String::new(),
            message: format!("the server answered {status}"),
            reason: String::new(),
            retry: String::new(),
            request_id: String::new(),
            details: std::collections::BTreeMap::new(),
            hint: None,
        });
        Err(ClientError::Api(ApiError { status: status.as_u16(), body: Box::new(body) }))
    }

    fn transport(&self, source: reqwest::Error) -> ClientError {
        let source = source.without_url();
        if source.is_connect() {
            ClientError::Unreachable { server: self.server().to_owned(), source }
        } else {
            ClientError::Transport(source)
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("server", &self.server()).finish_non_exhaustive()
    }
}

async fn decode<T: DeserializeOwned>(response: Response) -> Result<T, ClientError> {
    let body =
        response.bytes().await.map_err(|source| ClientError::Transport(source.without_url()))?;
    serde_json::from_slice(&body).map_err(ClientError::Answer)
}

fn server_url(text: &str) -> Result<Url, ClientError> {
    let invalid = || ClientError::Address { address: text.to_owned() };
    let url = Url::parse(text).map_err(|_| invalid())?;
    let plain = url.query().is_none() && url.fragment().is_none() && url.password().is_none();
    let http = matches!(url.scheme(), "http" | "https") && url.has_host();
    if http && plain { Ok(url) } else { Err(invalid()) }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(server: &str) -> Result<Client, ClientError> {
        Client::new(&ClientOptions { server: server.into(), ..ClientOptions::default() })
    }

    #[test]
    fn parts_of_a_path_are_escaped() {
        let client = client("http://127.0.0.1:7423/").unwrap();
        let url = client.url(&["sandboxes", "a/b?c", "files"], &[("path", "/x y&z")]);
        assert_eq!(
            url.as_str(),
            "http://127.0.0.1:7423/api/v1/sandboxes/a%2Fb%3Fc/files?path=%2Fx+y%26z"
        );
    }

    #[test]
    fn an_address_that_is_not_http_is_refused() {
        for address in ["", "127.0.0.1:7423", "ftp://x", "mailto:x", "http://x/?a=b"] {
            assert!(matches!(client(address), Err(ClientError::Address { .. })), "{address}");
        }
    }

    #[test]
    fn a_key_that_is_no_header_value_is_refused_without_being_shown() {
        let options = ClientOptions {
            server: "http://x".into(),
            api_key: Some("secret\n".into()),
            user_id: None,
        };
        let error = Client::new(&options).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
    }

    #[test]
    fn loopback_is_recognised_by_name_and_by_address() {
        for (url, expected) in [
            ("http://localhost:1", true),
            ("http://127.0.0.2:1", true),
            ("http://[::1]:1", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
