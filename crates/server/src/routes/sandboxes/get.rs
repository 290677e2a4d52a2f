//! `GET /sandboxes/{id}`: one sandbox.

use api::Sandbox;
use axum::extract::State;

use crate::extract::{By, Id, Reply, ok};
use crate::state::Plane;

/// Get a sandbox.
///
/// One that is destroyed is not found.
#[utoipa::path(
    get, path = "/api/v1/sandboxes/{id}", operation_id = "sandboxes_get", tag = "sandboxes",
    params(("id" = String, Path, description = "The sandbox.")),
    responses((status = 200, description = "The sandbox.", body = Sandbox)),
)]
pub(crate) async fn get(State(plane): State<Plane>, By(caller): By, Id(id): Id) -> Reply<Sandbox> {
    let sandbox = plane.engine.get(&caller, &id).await?;
    Ok(ok(plane.sandbox(sandbox)))
}
