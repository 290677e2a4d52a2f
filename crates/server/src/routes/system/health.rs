//! `GET /health`: says that the server is there.

use api::Health;
use axum::extract::State;

use crate::extract::{Reply, ok};
use crate::state::Plane;

/// Say that the server is there.
///
/// Checks nothing, and needs no credential.
#[utoipa::path(
    get, path = "/api/v1/health", operation_id = "health", tag = "system",
    responses((status = 200, description = "It is there.", body = Health)),
)]
pub(crate) async fn health(State(plane): State<Plane>) -> Reply<Health> {
    Ok(ok(plane.health("ok")))
}
