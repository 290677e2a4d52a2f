//! `DELETE /sandboxes/{id}/files`: removes a file or a directory.

use api::Status;
use axum::extract::State;
use model::FileOp;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::convert;
use crate::extract::{By, Id, Params, Reply, flag, status};
use crate::state::Plane;

/// What to delete.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct What {
    /// The absolute path in the sandbox.
    #[param(required)]
    path: Option<String>,
    /// `true` removes a directory with all that is in it. Default: `false`.
    recursive: Option<String>,
}

/// Delete a file or a directory.
#[utoipa::path(
    delete, path = "/api/v1/sandboxes/{id}/files", operation_id = "files_delete", tag = "files",
    params(("id" = String, Path, description = "The sandbox."), What),
    responses((status = 200, description = "It is gone.", body = Status)),
)]
pub(crate) async fn delete(
    State(plane): State<Plane>,
    By(caller): By,
    Id(id): Id,
    Params(what): Params<What>,
) -> Reply<Status> {
    let path = convert::path("path", what.path)?;
    let recursive = flag("recursive", what.recursive.as_deref())?.unwrap_or(false);
    plane.engine.fs(&caller, &id, FileOp::Delete { path, recursive }).await?;
    Ok(status("deleted"))
}
