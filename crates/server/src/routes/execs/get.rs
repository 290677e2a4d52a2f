//! `GET /sandboxes/{id}/execs/{exec_id}`: one program.

use api::Exec;
use axum::extract::State;

use crate::convert;
use crate::extract::{By, Reply, Which, ok};
use crate::state::Plane;

/// Look at a program.
///
/// Whether it runs, and how it ended.
#[utoipa::path(
    get, path = "/api/v1/sandboxes/{id}/execs/{exec_id}", operation_id = "execs_get",
    tag = "exec",
    params(
        ("id" = String, Path, description = "The sandbox."),
        ("exec_id" = String, Path, description = "The exec."),
    ),
    responses((status = 200, description = "The program.", body = Exec)),
)]
pub(crate) async fn get(
    State(plane): State<Plane>,
    By(caller): By,
    Which(id, exec): Which,
) -> Reply<Exec> {
    let record = plane.engine.exec_record(&caller, (&id, &exec)).await?;
    Ok(ok(convert::exec(record)))
}
