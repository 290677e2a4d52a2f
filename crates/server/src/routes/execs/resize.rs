//! `POST /sandboxes/{id}/execs/{exec_id}/resize`: another size of a terminal.

use api::{Status, TtySize};
use axum::extract::State;

use crate::convert;
use crate::extract::{By, Json, Reply, Which, status};
use crate::state::Plane;

/// Resize a program's terminal.
#[utoipa::path(
    post, path = "/api/v1/sandboxes/{id}/execs/{exec_id}/resize",
    operation_id = "execs_resize", tag = "exec",
    params(
        ("id" = String, Path, description = "The sandbox."),
        ("exec_id" = String, Path, description = "The exec."),
    ),
    request_body = TtySize,
    responses((status = 200, description = "It has this size.", body = Status)),
)]
pub(crate) async fn resize(
    State(plane): State<Plane>,
    By(caller): By,
    Which(id, exec): Which,
    Json(size): Json<TtySize>,
) -> Reply<Status> {
    plane.engine.exec_resize(&caller, (&id, &exec), convert::tty_size(size)).await?;
    Ok(status("resized"))
}
