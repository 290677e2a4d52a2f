//! `POST /sandboxes/{id}/files/move`: renames a file.

use api::{MoveRequest, Status};
use axum::extract::State;
use model::FileOp;

use crate::convert;
use crate::extract::{By, Id, Json, Reply, status};
use crate::state::Plane;

/// Rename a file or a directory.
///
/// A file at the new path is replaced.
#[utoipa::path(
    post, path = "/api/v1/sandboxes/{id}/files/move", operation_id = "files_move", tag = "files",
    params(("id" = String, Path, description = "The sandbox.")),
    request_body = MoveRequest,
    responses((status = 200, description = "It has its new path.", body = Status)),
)]
pub(crate) async fn rename(
    State(plane): State<Plane>,
    By(caller): By,
    Id(id): Id,
    Json(request): Json<MoveRequest>,
) -> Reply<Status> {
    let from = convert::path("old_path", request.old_path)?;
    let to = convert::path("new_path", request.new_path)?;
    plane.engine.fs(&caller, &id, FileOp::Move { from, to }).await?;
    Ok(status("moved"))
}
