//! `DELETE /sandboxes/{id}`: destroys a sandbox.

use api::Status;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::extract::{By, Id, Params, Reply, flag, status};
use crate::state::Plane;

/// How to delete.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct How {
    /// `false` answers before it is gone. Default: `true`.
    wait: Option<String>,
}

/// Destroy a sandbox.
///
/// Legal in every state. When it answers 200, everything that belonged to the sandbox is gone.
/// Destroying it again succeeds; one that never existed is not found.
#[utoipa::path(
    delete, path = "/api/v1/sandboxes/{id}", operation_id = "sandboxes_delete", tag = "sandboxes",
    params(("id" = String, Path, description = "The sandbox."), How),
    responses(
        (status = 200, description = "It is gone.", body = Status),
        (status = 202, description = "It is being destroyed.", body = Status),
    ),
)]
pub(crate) async fn delete(
    State(plane): State<Plane>,
    By(caller): By,
    Id(id): Id,
    Params(How { wait }): Params<How>,
) -> Reply<Status> {
    let wait = flag("wait", wait.as_deref())?.unwrap_or(true);
    plane.engine.delete(&caller, &id, wait).await?;
    if wait {
        return Ok(status("destroyed"));
    }
    Ok((StatusCode::ACCEPTED, axum::Json(Status { status: "destroying".to_owned() })))
}
