//! `POST /sandboxes`: makes a sandbox.

use api::{Sandbox, SpawnRequest};
use axum::extract::State;
use http::StatusCode;

use crate::convert;
use crate::extract::{By, Json, Reply};
use crate::state::Plane;

/// Make a sandbox.
///
/// Answers once it runs. A create that fails leaves nothing behind.
#[utoipa::path(
    post, path = "/api/v1/sandboxes", operation_id = "sandboxes_create", tag = "sandboxes",
    params(("X-User-ID" = Option<String>, Header, description = "Whom it is attributed to.")),
    request_body = SpawnRequest,
    responses((status = 201, description = "It runs.", body = Sandbox)),
)]
pub(crate) async fn create(
    State(plane): State<Plane>,
    By(caller): By,
    Json(request): Json<SpawnRequest>,
) -> Reply<Sandbox> {
    let new = convert::new_sandbox(request, caller.owner.as_deref())?;
    let sandbox = plane.engine.create(&caller, new).await?;
    Ok((StatusCode::CREATED, axum::Json(plane.sandbox(sandbox))))
}
