//! `POST /sandboxes/{id}/files/chmod`: sets permission bits.

use api::{ChmodRequest, Status};
use axum::extract::State;
use model::FileOp;

use crate::convert;
use crate::error::missing;
use crate::extract::{By, Id, Json, Reply, status};
use crate::state::Plane;

/// Set a file's permission bits.
#[utoipa::path(
    post, path = "/api/v1/sandboxes/{id}/files/chmod", operation_id = "files_chmod", tag = "files",
    params(("id" = String, Path, description = "The sandbox.")),
    request_body = ChmodRequest,
    responses((status = 200, description = "It has its new bits.", body = Status)),
)]
pub(crate) async fn chmod(
    State(plane): State<Plane>,
    By(caller): By,
    Id(id): Id,
    Json(request): Json<ChmodRequest>,
) -> Reply<Status> {
    let path = convert::path("path", request.path)?;
    let mode = convert::mode("mode", request.mode)?.ok_or_else(|| missing("mode"))?;
    plane.engine.fs(&caller, &id, FileOp::Chmod { path, mode }).await?;
    Ok(status("chmod applied"))
}
