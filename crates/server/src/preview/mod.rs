//! The preview gateway: `http://{port}-{sandbox}.{domain}` is a TCP port inside a sandbox.
//!
//! `host` decides by the host name alone whether a request is for the gateway, `proxy` carries it
//! through the agent's dial, `page` says why there is nothing to see. A host of the gateway never
//! reaches the API, and an upstream is only ever a sandbox of the engine.
//!
//! Once an API key is set, a preview needs it like every route, in the same headers; the
//! application never sees it. An `Authorization` header with anything else is the application's
//! own and passes.

mod host;
mod page;
mod proxy;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use model::{Failure, Reason};

pub(crate) use host::{Authority, PreviewDomain, Target};

use crate::auth;
use crate::error::ApiError;
use crate::state::Plane;

/// Takes the requests that are for the gateway out of the way of the API.
pub(crate) async fn dispatch(State(plane): State<Plane>, request: Request, next: Next) -> Response {
    let authority = match Authority::of(&request) {
        Ok(authority) => authority,
        Err(failure) => return ApiError::from(failure).into_response(),
    };
    let wants_page = page::is_wanted(request.headers());
    let address = match plane.settings.preview.target(&authority) {
        Target::Api => return next.run(request).await,
        Target::Refused => return page::answer(&malformed(), wants_page),
        Target::Preview(address) => address,
    };
    if !plane.settings.keys.admit(request.headers()) {
        return page::answer(&auth::unauthorized(), wants_page);
    }
    match proxy::forward(&plane, &address, request).await {
        Ok(response) => response,
        Err(failure) => page::answer(&failure, wants_page),
    }
}

fn malformed() -> Failure {
    Failure::new(Reason::RouteNotFound, "no such preview: the host name is not a preview address")
        .hint(
            "expected {port}-{sandbox id}.{preview domain} in lower case, the port from 1 to 65535",
        )
}
