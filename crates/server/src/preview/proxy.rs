//! Carries one request to a port in a sandbox and the answer back, both streamed. An upgrade
//! (WebSocket) becomes a tunnel. What the application answers is passed on, never followed.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{
    AUTHORIZATION, CONNECTION, EXPECT, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use hyper::client::conn::http1;
use hyper::upgrade::{OnUpgrade, on};
use hyper_util::rt::TokioIo;
use model::{Failure, Reason};
use tokio::io::copy_bidirectional;
use tokio::sync::OwnedSemaphorePermit;

use super::host::{Authority, PreviewAddress};
use crate::state::{Peer, Plane};

/// Headers that are about one connection and not about the message.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Sends `request` to the port and returns what the application answers.
pub(super) async fn forward(
    plane: &Plane,
    address: &PreviewAddress,
    request: Request,
) -> Result<Response, Failure> {
    if request.method() == Method::CONNECT {
        return Err(Failure::new(Reason::MethodNotAllowed, "a preview does not take CONNECT"));
    }
    let stream = plane.engine.dial(&address.sandbox, address.port).await?;
    let broken = |error: hyper::Error| {
        let message = format!("port {} closed the connection without an answer", address.port);
        Failure::new(Reason::PortClosed, message)
            .detail("port", i64::from(address.port))
            .caused_by(error)
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let connection = plane.cut.clone().run_until_cancelled_owned(connection.with_upgrades());
    plane.tunnels.spawn(connection);
    let room = request.extensions().get::<Peer>().map(|peer| peer.room.clone());
    let (request, client) = outbound(plane, request)?;
    let mut response = sender.send_request(request).await.map_err(broken)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let client = client.ok_or_else(|| {
            Failure::new(Reason::PortClosed, "the application upgraded without being asked to")
        })?;
        let tunnel = tunnel(client, on(&mut response), room);
        plane.tunnels.spawn(plane.stopping.clone().run_until_cancelled_owned(tunnel));
        let upgrade = response.headers().get(UPGRADE).cloned();
        strip(response.headers_mut());
        mark_upgrade(response.headers_mut(), upgrade);
    } else {
        strip(response.headers_mut());
    }
    Ok(response.map(Body::new))
}

/// The request as the application gets it, and the client's side of an upgrade if it asks for one.
fn outbound(plane: &Plane, mut request: Request) -> Result<(Request, Option<OnUpgrade>), Failure> {
    let authority = Authority::of(&request)?;
    let upgrade = wanted_upgrade(request.headers());
    let client = upgrade.is_some().then(|| on(&mut request));
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().cloned();
    parts.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    parts.version = Version::HTTP_11;
    let own_authorization = plane.settings.keys.own_authorization(&parts.headers);
    let headers = &mut parts.headers;
    strip(headers);
    headers.remove(EXPECT);
    headers.remove(api::paths::API_KEY);
    headers.remove(api::paths::ADMIN_API_KEY);
    if own_authorization {
        headers.remove(AUTHORIZATION);
    }
    mark_upgrade(headers, upgrade);
    let peer = parts.extensions.get::<Peer>().map(|peer| peer.address.to_string());
    for (name, value) in [
        ("forwarded", None),
        ("host", Some(authority.text())),
        ("x-forwarded-for", peer.as_deref()),
        ("x-forwarded-host", Some(authority.text())),
        ("x-forwarded-proto", Some("http")),
    ] {
        headers.remove(name);
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    Ok((Request::from_parts(parts, body), client))
}

/// Copies bytes both ways until both sides have closed. The client's connection counts against the
/// limit for as long.
async fn tunnel(
    client: OnUpgrade,
    application: OnUpgrade,
    _room: Option<Arc<OwnedSemaphorePermit>>,
) {
    let (Ok(client), Ok(application)) = tokio::join!(client, application) else { return };
    let (mut client, mut application) = (TokioIo::new(client), TokioIo::new(application));
    // Either side going away is how a tunnel ends; there is nobody left to tell.
    let _ = copy_bidirectional(&mut client, &mut application).await;
}

/// The protocol that a message wants to change to.
fn wanted_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = connection_options(headers).any(|option| option.eq_ignore_ascii_case("upgrade"));
    headers.get(UPGRADE).filter(|_| wanted).cloned()
}

fn mark_upgrade(headers: &mut HeaderMap, upgrade: Option<HeaderValue>) {
    if let Some(upgrade) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, upgrade);
    }
}

/// Removes the headers that are about one connection, those named by `Connection` included.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<_> =
        connection_options(headers).filter_map(|name| name.parse::<HeaderName>().ok()).collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_one_connection_are_removed() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "X-Secret, keep-alive"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("content-type", "text/plain"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip(&mut headers);
        let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["content-type"]);
    }

    #[test]
    fn an_upgrade_needs_both_of_its_headers() {
        let mut headers = HeaderMap::new();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        assert_eq!(wanted_upgrade(&headers), None);
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        assert_eq!(wanted_upgrade(&headers).unwrap(), "websocket");
    }
}
