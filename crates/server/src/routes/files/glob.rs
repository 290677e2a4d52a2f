//! `GET /sandboxes/{id}/files/glob`: finds files by pattern.

use axum::extract::State;
use model::{Failure, FileOp};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::convert;
use crate::extract::{By, Id, Params, Reply, number, ok};
use crate::state::Plane;

/// What to look for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// An absolute pattern: `*`, `?` and `[…]` within a name, `**` across directories.
    #[param(required)]
    pattern: Option<String>,
    /// At most so many matches, from 1; more are an error. Default, and at most: 100000.
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
}

/// Matches of one glob: what fits an answer of some megabytes.
const MATCHES_MAX: u32 = 100_000;

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
    let limit = number("limit", wanted.limit.as_deref(), 1..=MATCHES_MAX)?.unwrap_or(MATCHES_MAX);
    let found = plane.engine.fs(&caller, &id, FileOp::Glob { pattern, limit }).await?.paths();
    Ok(ok(found.map_err(Failure::from)?))
}
