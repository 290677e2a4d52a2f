//! `GET /sandboxes/{id}/execs`: the programs of a sandbox that may outlive their calls.

use api::Exec;
use axum::extract::State;

use crate::convert;
use crate::extract::{By, Id, Reply, ok};
use crate::state::Plane;

/// List programs.
///
/// Those that may outlive the call that started them: in the background, streamed, or over a
/// WebSocket; running and ended, the newest first, at most 1000. A plain call is not among them,
/// it ends with its client.
#[utoipa::path(
    get, path = "/api/v1/sandboxes/{id}/execs", operation_id = "execs_list", tag = "exec",
    params(("id" = String, Path, description = "The sandbox.")),
    responses((status = 200, description = "The programs.", body = Vec<Exec>)),
)]
pub(crate) async fn list(
    State(plane): State<Plane>,
    By(caller): By,
    Id(id): Id,
) -> Reply<Vec<Exec>> {
    let execs = plane.engine.execs(&caller, &id).await?;
    Ok(ok(execs.into_iter().map(convert::exec).collect()))
}
