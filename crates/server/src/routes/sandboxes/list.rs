//! `GET /sandboxes`: every sandbox that is not destroyed.

use api::Sandbox;
use axum::extract::State;
use engine::ListFilter;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::extract::{By, Params, Reply, ok};
use crate::state::Plane;

/// Which sandboxes are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    /// Only those in this state.
    state: Option<String>,
    /// Only those attributed to this owner.
    owner: Option<String>,
}

/// List sandboxes.
///
/// Every sandbox that is not destroyed, newest first.
#[utoipa::path(
    get, path = "/api/v1/sandboxes", operation_id = "sandboxes_list", tag = "sandboxes",
    params(Filter),
    responses((status = 200, description = "The sandboxes.", body = Vec<Sandbox>)),
)]
pub(crate) async fn list(
    State(plane): State<Plane>,
    By(caller): By,
    Params(Filter { state, owner }): Params<Filter>,
) -> Reply<Vec<Sandbox>> {
    let sandboxes = plane.engine.list(&caller, ListFilter { state, owner }).await?;
    Ok(ok(sandboxes.into_iter().map(|sandbox| plane.sandbox(sandbox)).collect()))
}
