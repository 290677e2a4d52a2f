//! `GET /sandboxes/{id}/files/list`: what is in a directory.

use api::FileInfo;
use axum::extract::State;
use model::{Failure, FileOp, FileReply};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::convert;
use crate::extract::{By, Id, Params, Reply, ok};
use crate::state::Plane;

/// Which directory.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Directory {
    /// The absolute path in the sandbox. Default: `/`.
    path: Option<String>,
}

/// List a directory.
///
/// Sorted by name, without `.` and `..`.
#[utoipa::path(
    get, path = "/api/v1/sandboxes/{id}/files/list", operation_id = "files_list", tag = "files",
    params(("id" = String, Path, description = "The sandbox."), Directory),
    responses((status = 200, description = "What is in it.", body = Vec<FileInfo>)),
)]
pub(crate) async fn list(
    State(plane): State<Plane>,
    By(caller): By,
    Id(id): Id,
    Params(directory): Params<Directory>,
) -> Reply<Vec<FileInfo>> {
    let path = directory.path.filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned());
    let path = convert::path("path", Some(path))?;
    match plane.engine.fs(&caller, &id, FileOp::List(path)).await? {
        FileReply::Listing(files) => Ok(ok(files.into_iter().map(convert::file_info).collect())),
        FileReply::Done | FileReply::Info(_) | FileReply::Paths(_) => {
            Err(Failure::internal("the agent answered a list with something else").into())
        }
    }
}
