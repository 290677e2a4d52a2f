//! `POST /sandboxes/{id}/extend`: sets the time to live anew.

use api::{ExtendRequest, Sandbox};
use axum::extract::State;

use crate::convert;
use crate::error::missing;
use crate::extract::{By, Id, Json, Reply, ok};
use crate::state::Plane;

/// Set a sandbox's time to live anew.
///
/// It counts from now, and may be shorter than what was left.
#[utoipa::path(
    post, path = "/api/v1/sandboxes/{id}/extend", operation_id = "sandboxes_extend",
    tag = "sandboxes",
    params(("id" = String, Path, description = "The sandbox.")),
    request_body = ExtendRequest,
    responses((status = 200, description = "With its new expiry.", body = Sandbox)),
)]
pub(crate) async fn extend(
    State(plane): State<Plane>,
    By(caller): By,
    Id(id): Id,
    Json(request): Json<ExtendRequest>,
) -> Reply<Sandbox> {
    let ttl = request.ttl.filter(|ttl| !ttl.is_empty()).ok_or_else(|| missing("ttl"))?;
    let ttl = convert::duration("ttl", &ttl)?;
    let sandbox = plane.engine.extend(&caller, &id, ttl).await?;
    Ok(ok(plane.sandbox(sandbox)))
}
