//! `POST /sandboxes/{id}/files/mkdir`: makes a directory.

use api::{MkdirRequest, Status};
use axum::extract::State;
use model::FileOp;

use crate::convert;
use crate::extract::{By, Id, Json, Reply, status};
use crate::state::Plane;

/// Make a directory.
///
/// With `parents` missing directories above it are made too, and a directory that is there is
/// success; without, anything that is there is `file_exists`.
#[utoipa::path(
    post, path = "/api/v1/sandboxes/{id}/files/mkdir", operation_id = "files_mkdir", tag = "files",
    params(("id" = String, Path, description = "The sandbox.")),
    request_body = MkdirRequest,
    responses((status = 200, description = "It is there.", body = Status)),
)]
pub(crate) async fn mkdir(
    State(plane): State<Plane>,
    By(caller): By,
    Id(id): Id,
    Json(request): Json<MkdirRequest>,
) -> Reply<Status> {
    let path = convert::path("path", request.path)?;
    let mode = convert::mode("mode", request.mode)?;
    let parents = request.parents.unwrap_or(false);
    plane.engine.fs(&caller, &id, FileOp::Mkdir { path, mode, parents }).await?;
    Ok(status("created"))
}
