//! `POST /sandboxes`: makes a sandbox.

use api::{Sandbox, SpawnRequest};
use axum::extract::State;
use engine::NewSandbox;
use http::{HeaderMap, StatusCode};

use crate::convert;
use crate::extract::{By, Json, Reply, idempotency_key};
use crate::state::Plane;

/// Make a sandbox.
///
/// Answers once it runs. A create that fails leaves nothing behind. With an `Idempotency-Key` the
/// request can be sent again: it makes one sandbox and gets the first one's answer.
#[utoipa::path(
    post, path = "/api/v1/sandboxes", operation_id = "sandboxes_create", tag = "sandboxes",
    params(
        ("X-User-ID" = Option<String>, Header, description = "Whom it is attributed to."),
        ("Idempotency-Key" = Option<String>, Header,
            description = "A word of the caller's for this request."),
    ),
    request_body = SpawnRequest,
    responses((status = 201, description = "It runs.", body = Sandbox)),
)]
pub(crate) async fn create(
    State(plane): State<Plane>,
    By(caller): By,
    headers: HeaderMap,
    Json(request): Json<SpawnRequest>,
) -> Reply<Sandbox> {
    let idempotency_key = idempotency_key(&headers, &request)?;
    let new = convert::new_sandbox(request, caller.owner.as_deref())?;
    let new = NewSandbox { idempotency_key, ..new };
    let sandbox = plane.engine.create(&caller, new).await?;
    Ok((StatusCode::CREATED, axum::Json(plane.sandbox(sandbox))))
}
