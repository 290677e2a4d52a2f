//! `POST /sandboxes/{id}/execs/{exec_id}/signal`: sends a signal.

use api::{SignalRequest, Status};
use axum::extract::State;

use crate::error::missing;
use crate::extract::{By, Json, Reply, Which, status};
use crate::signal;
use crate::state::Plane;

/// Send a signal.
///
/// To the program's process group; with a terminal to its foreground group.
#[utoipa::path(
    post, path = "/api/v1/sandboxes/{id}/execs/{exec_id}/signal",
    operation_id = "execs_signal", tag = "exec",
    params(
        ("id" = String, Path, description = "The sandbox."),
        ("exec_id" = String, Path, description = "The exec."),
    ),
    request_body = SignalRequest,
    responses((status = 200, description = "It is sent.", body = Status)),
)]
pub(crate) async fn signal(
    State(plane): State<Plane>,
    By(caller): By,
    Which(id, exec): Which,
    Json(request): Json<SignalRequest>,
) -> Reply<Status> {
    let signal = signal::number(&request.signal.ok_or_else(|| missing("signal"))?)?;
    plane.engine.exec_signal(&caller, (&id, &exec), signal).await?;
    Ok(status("sent"))
}
