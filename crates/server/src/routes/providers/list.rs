//! `GET /providers`: every provider and its health.

use api::Provider;
use axum::extract::State;

use crate::convert;
use crate::extract::{Reply, ok};
use crate::state::Plane;

/// List providers.
///
/// Each is checked now.
#[utoipa::path(
    get, path = "/api/v1/providers", operation_id = "providers_list", tag = "providers",
    responses((status = 200, description = "The providers.", body = Vec<Provider>)),
)]
pub(crate) async fn list(State(plane): State<Plane>) -> Reply<Vec<Provider>> {
    Ok(ok(plane.engine.providers().await.iter().map(convert::provider).collect()))
}
