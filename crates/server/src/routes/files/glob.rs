//! `GET /sandboxes/{id}/files/glob`: finds files by pattern.

use axum::extract::State;
use model::{Failure, FileOp, FileReply};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::convert;
use crate::extract::{By, Id, Params, Reply, ok};
use crate::state::Plane;

/// What to look for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// An absolute pattern: `*`, `?` and `[…]` within a name, `**` across directories.
    #[param(required)]
    pattern: Option<String>,
}

/// Find files by pattern.
///
/// Sorted; empty when nothing matches.
#[utoipa::path(
    get, path = "/api/v1/sandboxes/{id}/files/glob", operation_id = "files_glob", tag = "files",
    params(("id" = String, Path, description = "The sandbox."), Wanted),
    responses((status = 200, description = "Absolute paths.", body = Vec<String>)),
)]
pub(crate) async fn glob(
    State(plane): State<Plane>,
    By(caller): By,
    Id(id): Id,
    Params(wanted): Params<Wanted>,
) -> Reply<Vec<String>> {
    let pattern = convert::path("pattern", wanted.pattern)?;
    match plane.engine.fs(&caller, &id, FileOp::Glob(pattern)).await? {
        FileReply::Paths(paths) => Ok(ok(paths)),
        FileReply::Done | FileReply::Info(_) | FileReply::Listing(_) => {
            Err(Failure::internal("the agent answered a glob with something else").into())
        }
    }
}
