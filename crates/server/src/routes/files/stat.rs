//! `GET /sandboxes/{id}/files/stat`: describes a file.

use api::FileInfo;
use axum::extract::State;
use model::{Failure, FileOp};

use super::read::Source;
use crate::convert;
use crate::extract::{By, Id, Params, Reply, ok};
use crate::state::Plane;

/// Describe a file.
///
/// A symlink is described, not followed.
#[utoipa::path(
    get, path = "/api/v1/sandboxes/{id}/files/stat", operation_id = "files_stat", tag = "files",
    params(("id" = String, Path, description = "The sandbox."), Source),
    responses((status = 200, description = "The file.", body = FileInfo)),
)]
pub(crate) async fn stat(
    State(plane): State<Plane>,
    By(caller): By,
    Id(id): Id,
    Params(source): Params<Source>,
) -> Reply<FileInfo> {
    let path = convert::path("path", source.path)?;
    let info = plane.engine.fs(&caller, &id, FileOp::Stat(path)).await?.info();
    Ok(ok(convert::file_info(info.map_err(Failure::from)?)))
}
