//! `POST /sandboxes/{id}/files/copy`: copies a file or a directory.

use api::{CopyRequest, Status};
use axum::extract::State;
use model::FileOp;

use crate::convert;
use crate::extract::{By, Id, Json, Reply, status};
use crate::state::Plane;

/// Copy a file or a directory.
///
/// Modes and times come along, and a symlink is copied as one. The copy appears whole or not at
/// all. A file at the new path is replaced by a file; a directory needs `recursive` and a path
/// where there is nothing. Sockets, pipes and devices in a directory are left out.
#[utoipa::path(
    post, path = "/api/v1/sandboxes/{id}/files/copy", operation_id = "files_copy", tag = "files",
    params(("id" = String, Path, description = "The sandbox.")),
    request_body = CopyRequest,
    responses((status = 200, description = "It is copied.", body = Status)),
)]
pub(crate) async fn copy(
    State(plane): State<Plane>,
    By(caller): By,
    Id(id): Id,
    Json(request): Json<CopyRequest>,
) -> Reply<Status> {
    let from = convert::path("from", request.from)?;
    let to = convert::path("to", request.to)?;
    let recursive = request.recursive.unwrap_or(false);
    plane.engine.fs(&caller, &id, FileOp::Copy { from, to, recursive }).await?;
    Ok(status("copied"))
}
