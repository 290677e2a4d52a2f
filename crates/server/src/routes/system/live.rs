//! `GET /live`: says that the process lives, for liveness probes.

use api::Health;
use axum::extract::State;

use crate::extract::{Reply, ok};
use crate::state::Plane;

/// Say that the process lives.
///
/// For liveness probes: checks nothing, and needs no credential.
#[utoipa::path(
    get, path = "/api/v1/live", operation_id = "live", tag = "system",
    responses((status = 200, description = "It lives.", body = Health)),
)]
pub(crate) async fn live(State(plane): State<Plane>) -> Reply<Health> {
    Ok(ok(plane.health("alive")))
}
