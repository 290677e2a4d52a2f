//! `DELETE /sandboxes`: destroys what has expired.

use api::Pruned;
use axum::extract::State;

use crate::extract::{By, Reply, ok};
use crate::state::Plane;

/// Destroy every sandbox that has expired.
///
/// The server does so by itself within a second; this waits for it.
#[utoipa::path(
    delete, path = "/api/v1/sandboxes", operation_id = "sandboxes_prune", tag = "sandboxes",
    responses((status = 200, description = "They are gone.", body = Pruned)),
)]
pub(crate) async fn prune(State(plane): State<Plane>, By(caller): By) -> Reply<Pruned> {
    Ok(ok(Pruned { pruned: plane.engine.prune(&caller).await? }))
}
