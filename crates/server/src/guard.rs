//! Keeps web pages off the API: a page in a browser on this machine can send requests to a
//! loopback address, by its own origin or by making its own name resolve to 127.0.0.1.
//!
//! A request with an `Origin` that is neither the server's own nor configured is refused. While no
//! API key is set, so is one under a host name that is not of this machine. Clients that are not
//! browsers send no `Origin` and are not concerned.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, ORIGIN};
use http::{HeaderName, HeaderValue, Method};
use model::{Failure, Reason};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::error::{ApiError, echo};
use crate::options::BindError;
use crate::preview::Authority;
use crate::state::Plane;

/// The origins whose pages may call the API.
#[derive(Clone, Debug)]
pub(crate) enum Origins {
    Any,
    These(Vec<HeaderValue>),
}

impl Origins {
    pub(crate) fn new(texts: &[String]) -> Result<Self, BindError> {
        if texts.iter().any(|text| text == "*") {
            return Ok(Self::Any);
        }
        let origin = |text: &String| {
            let invalid = || BindError::Origin(text.clone());
            let uri: http::Uri = text.parse().map_err(|_| invalid())?;
            let plain = uri.scheme().is_some()
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
                && uri.query().is_none()
                && !text.ends_with('/')
                && text.matches('/').count() == 2;
            let value = HeaderValue::from_str(text).map_err(|_| invalid())?;
            if plain { Ok(value) } else { Err(invalid()) }
        };
        texts.iter().map(origin).collect::<Result<_, _>>().map(Self::These)
    }

    fn allow(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::Any => true,
            Self::These(origins) => origins.contains(origin),
        }
    }

    /// What answers preflights and marks answers for browsers; nothing when no origin is allowed.
    pub(crate) fn layer(&self) -> Option<CorsLayer> {
        let origins = match self {
            Self::Any => AllowOrigin::any(),
            Self::These(origins) if origins.is_empty() => return None,
            Self::These(origins) => AllowOrigin::list(origins.clone()),
        };
        let headers = [
            "content-type",
            "authorization",
            "if-match",
            "if-none-match",
            "if-range",
            "last-event-id",
            "range",
            "x-admin-api-key",
            "x-api-key",
            "x-request-id",
            "x-tenant-id",
            "x-user-id",
        ];
        let layer = CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
            .allow_headers(headers.map(HeaderName::from_static))
            .expose_headers([
                HeaderName::from_static("x-request-id"),
                HeaderName::from_static("x-next-cursor"),
                HeaderName::from_static("x-truncated"),
                CONTENT_TYPE,
                ETAG,
            ]);
        Some(layer)
    }
}

/// Refuses what a foreign web page sent.
pub(crate) async fn refuse_foreign(
    State(plane): State<Plane>,
    request: Request,
    next: Next,
) -> Response {
    match check(&plane, &request) {
        Ok(()) => next.run(request).await,
        Err(failure) => ApiError::from(failure).into_response(),
    }
}

fn check(plane: &Plane, request: &Request) -> Result<(), Failure> {
    let authority = Authority::of(request)?;
    let host = authority.host();
    if !plane.settings.keys.are_set() && !is_of_this_machine(host) {
        let ours = plane.settings.preview.host();
        if host != ours && !host.ends_with(&format!(".{ours}")) {
            let message = format!("requests for the host {} are not answered", echo(host));
            return Err(Failure::new(Reason::OriginForbidden, message)
                .hint("use localhost or an address, or set auth.api_key"));
        }
    }
    let Some(origin) = request.headers().get(ORIGIN) else { return Ok(()) };
    let own = [format!("http://{}", authority.text()), format!("https://{}", authority.text())];
    let is_own = !host.is_empty() && own.iter().any(|own| origin.as_bytes() == own.as_bytes());
    if is_own || plane.settings.origins.allow(origin) {
        return Ok(());
    }
    let origin = echo(&String::from_utf8_lossy(origin.as_bytes()));
    Err(Failure::new(Reason::OriginForbidden, format!("pages of {origin} may not call the API"))
        .hint("name the origin in server.cors_allowed_origins"))
}

/// Whether a browser can only have got here by a name or address that nobody else controls. A
/// request without a host does not come from a browser.
fn is_of_this_machine(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.is_empty()
        || host == "localhost"
        || host.ends_with(".localhost")
        || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_origins_are_origins() {
        for good in ["http://localhost:3000", "https://app.example.com", "*"] {
            assert!(Origins::new(&[good.into()]).is_ok(), "{good}");
        }
        for bad in ["", "localhost", "http://x/", "http://x/y", "http://u@x", "http://x?y"] {
            assert!(Origins::new(&[bad.into()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_that_others_control_are_not_of_this_machine() {
        for host in ["localhost", "a.localhost", "127.0.0.1", "[::1]", "10.1.2.3", ""] {
            assert!(is_of_this_machine(host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example"] {
            assert!(!is_of_this_machine(host), "{host}");
        }
    }
}
