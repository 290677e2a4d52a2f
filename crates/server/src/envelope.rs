//! The outermost layer: names every request, writes the body of every error, logs both.

use std::any::Any;
use std::time::Instant;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue};
use model::{Failure, Reason};

use crate::error::ApiError;

/// The request id's header, in the form that header maps hold.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request id from a client that is longer than this, or has other than visible ASCII
/// characters, is replaced.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Names a request, in its answer and in the log.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    fn of(headers: &HeaderMap) -> Self {
        let sane = |value: &&HeaderValue| {
            (1..=REQUEST_ID_BYTES_MAX).contains(&value.len())
                && value.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        Self(headers.get(&REQUEST_ID).filter(sane).cloned().unwrap_or_else(fresh))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// A random UUID of version 4.
fn fresh() -> HeaderValue {
    let hex = format!("{:032x}", rand::random::<u128>());
    let variant = ["8", "9", "a", "b"][usize::from(rand::random::<u8>() % 4)];
    let text = format!(
        "{}-{}-4{}-{variant}{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..]
    );
    HeaderValue::try_from(text).expect("hex digits and dashes are a header value")
}

/// Wraps every request, previews included.
pub(crate) async fn wrap(mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let start = Instant::now();
    let mut response = next.run(request).await;
    let (request_id, status) = (id.as_str(), response.status().as_u16());
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        let failure = &error.failure;
        let (reason, causes) = (failure.reason.word(), failure.causes());
        if status >= 500 {
            tracing::error!(request_id, reason, causes, "{}", failure.message);
        } else {
            tracing::debug!(request_id, reason, causes, "{}", failure.message);
        }
        error.write(&mut response, request_id);
    }
    tracing::info!(request_id, %method, path, status, elapsed = ?start.elapsed(), "request");
    response.headers_mut().insert(REQUEST_ID, id.0);
    response
}

/// The answer to a request whose handler panicked; the payload goes to the log.
pub(crate) fn panicked(payload: Box<dyn Any + Send>) -> Response {
    let text = match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => {
            payload.downcast::<&str>().map_or_else(|_| "?".into(), |text| (*text).into())
        }
    };
    ApiError::from(Failure::internal(format!("a handler panicked: {text}"))).into_response()
}

/// The answer to a path that is no route.
pub(crate) async fn no_route(request: Request) -> ApiError {
    let path = crate::error::echo(request.uri().path());
    Failure::new(Reason::RouteNotFound, format!("no such route: {path}"))
        .hint("the routes are described at /api/v1/openapi.json")
        .into()
}

/// The answer to a method that a route does not have; the router adds the `Allow` header.
pub(crate) async fn no_method(request: Request) -> ApiError {
    let (method, path) = (request.method(), crate::error::echo(request.uri().path()));
    let message = format!("{path} does not take {}", crate::error::echo(method.as_str()));
    Failure::new(Reason::MethodNotAllowed, message).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use http::StatusCode;
    use http_body_util::BodyExt;
    use tower::ServiceExt;
    use tower_http::catch_panic::CatchPanicLayer;

    #[tokio::test]
    async fn a_panic_is_an_error_in_the_one_shape_and_says_nothing_of_itself() {
        let handler = || async { panic!("secret {}", 1) as StatusCode };
        let router: Router = Router::new()
            .route("/", axum::routing::get(handler))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(axum::middleware::from_fn(wrap));
        let response = router.oneshot(Request::new(axum::body::Body::empty())).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: api::ErrorBody = serde_json::from_slice(&body).unwrap();
        assert_eq!((body.reason.as_str(), body.message.as_str()), ("internal", "internal error"));
        assert_eq!(body.request_id.len(), 36);
    }

    #[test]
    fn a_sane_request_id_is_kept_and_any_other_is_replaced() {
        let id = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(value).unwrap());
            RequestId::of(&headers).as_str().to_owned()
        };
        assert_eq!(id("trace-1"), "trace-1");
        for bad in ["", "a b", &"x".repeat(129)] {
            let fresh = id(bad);
            assert_eq!(fresh.len(), 36, "{fresh}");
            assert_eq!(&fresh[14..15], "4");
        }
    }
}
