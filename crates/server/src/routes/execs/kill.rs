//! `DELETE /sandboxes/{id}/execs/{exec_id}`: ends a program.

use api::Exec;
use axum::extract::State;

use crate::convert;
use crate::extract::{By, Reply, Which, ok};
use crate::state::Plane;

/// End a program.
///
/// Everything that it started is asked to end (`TERM`), and made to after the grace (`KILL`).
/// Answered when it has ended; one that has ended already is fine, and what it has left running is
/// ended too.
#[utoipa::path(
    delete, path = "/api/v1/sandboxes/{id}/execs/{exec_id}", operation_id = "execs_kill",
    tag = "exec",
    params(
        ("id" = String, Path, description = "The sandbox."),
        ("exec_id" = String, Path, description = "The exec."),
    ),
    responses((status = 200, description = "It has ended.", body = Exec)),
)]
pub(crate) async fn kill(
    State(plane): State<Plane>,
    By(caller): By,
    Which(id, exec): Which,
) -> Reply<Exec> {
    let record = plane.engine.exec_kill(&caller, (&id, &exec)).await?;
    Ok(ok(convert::exec(record)))
}
