//! `GET /sandboxes/{id}/logs`: the last lines of what programs printed.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::extract::{By, Id, Params, Reply, ok};
use crate::state::Plane;

/// Lines when the request does not say, as published.
const LINES: u32 = 100;

/// The most lines of one answer; the agent keeps no more than about a mebibyte.
const LINES_MAX: u32 = 10_000;

/// How much is shown.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Amount {
    /// How many lines, at most 10,000. Default, also for what is not a positive number: 100.
    lines: Option<String>,
}

/// Get the last lines of what programs printed.
///
/// Oldest first.
#[utoipa::path(
    get, path = "/api/v1/sandboxes/{id}/logs", operation_id = "sandboxes_logs", tag = "sandboxes",
    params(("id" = String, Path, description = "The sandbox."), Amount),
    responses((status = 200, description = "The lines.", body = Vec<String>)),
)]
pub(crate) async fn logs(
    State(plane): State<Plane>,
    By(caller): By,
    Id(id): Id,
    Params(Amount { lines }): Params<Amount>,
) -> Reply<Vec<String>> {
    let lines = lines.and_then(|text| text.parse::<u32>().ok()).filter(|lines| *lines > 0);
    let lines = lines.unwrap_or(LINES).min(LINES_MAX);
    Ok(ok(plane.engine.logs(&caller, &id, lines).await?))
}
