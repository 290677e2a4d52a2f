//! `POST /sandboxes/{id}/execs/{exec_id}/stdin`: writes to standard input.

use api::StdinTaken;
use axum::body::Body;
use axum::extract::State;
use futures::TryStreamExt;
use model::{Failure, Reason};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::extract::{By, Params, Reply, Which, flag, ok};
use crate::state::Plane;

/// What comes after the bytes.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct After {
    /// Whether standard input ends behind these bytes. Default: false.
    #[param(value_type = Option<bool>)]
    close: Option<String>,
}

/// Write to standard input.
///
/// The body's bytes as they are, of any length, behind what was sent before. Answered when the
/// program's pipe has taken all of them, so a program that does not read holds the call.
#[utoipa::path(
    post, path = "/api/v1/sandboxes/{id}/execs/{exec_id}/stdin",
    operation_id = "execs_stdin", tag = "exec",
    params(
        ("id" = String, Path, description = "The sandbox."),
        ("exec_id" = String, Path, description = "The exec."),
        After,
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, description = "It is taken.", body = StdinTaken)),
)]
pub(crate) async fn stdin(
    State(plane): State<Plane>,
    (By(caller), Which(id, exec)): (By, Which),
    Params(after): Params<After>,
    body: Body,
) -> Reply<StdinTaken> {
    let close = flag("close", after.close.as_deref())?.unwrap_or(false);
    let cut_off =
        |error| Failure::new(Reason::InvalidBody, "the body was cut off").caused_by(error);
    let body = Box::pin(body.into_data_stream().map_err(cut_off));
    let bytes = plane.engine.exec_stdin(&caller, (&id, &exec), (body, close)).await?;
    Ok(ok(StdinTaken { status: "written".to_owned(), bytes }))
}
