//! `GET /sandboxes/{id}/execs/{exec_id}/output`: what a program wrote and writes.

use api::{Encoding, ExecLine};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use engine::{Offsets, OutputRange};
use model::Failure;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::envelope::RequestId;
use crate::error::ApiError;
use crate::extract::{By, Params, Which, flag};
use crate::ndjson::Source;
use crate::routes::exec::run::streamed;
use crate::state::Plane;

/// Which part of the output.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Part {
    /// The first byte of standard output, counted from 0. Default: 0.
    #[param(value_type = Option<u64>)]
    offset: Option<String>,
    /// The first byte of standard error. Default: 0.
    #[param(value_type = Option<u64>)]
    stderr_offset: Option<String>,
    /// Whether to go on with what comes, to the program's end. Default: true.
    #[param(value_type = Option<bool>)]
    follow: Option<String>,
    /// How bytes are written: `utf8` (the default) or `base64`.
    encoding: Option<Encoding>,
}

/// Read a program's output.
///
/// What is still kept of it from the offsets on, then what comes, one object a line; the last line
/// is the exit. Each line says in `next` where a later request goes on. A sandbox keeps the end of
/// what a program wrote, 1 MiB of each stream unless configured otherwise: what is gone is a line
/// `gap`. Any number may read, and none holds the program back.
#[utoipa::path(
    get, path = "/api/v1/sandboxes/{id}/execs/{exec_id}/output",
    operation_id = "execs_output", tag = "exec",
    params(
        ("id" = String, Path, description = "The sandbox."),
        ("exec_id" = String, Path, description = "The exec."),
        Part,
    ),
    responses((
        status = 200, description = "The output.",
        content((ExecLine = "application/x-ndjson")),
    )),
)]
pub(crate) async fn output(
    State(plane): State<Plane>,
    (By(caller), Which(id, exec)): (By, Which),
    Params(part): Params<Part>,
    Extension(request_id): Extension<RequestId>,
) -> Result<Response, ApiError> {
    let from = Offsets {
        stdout: offset("offset", part.offset.as_deref())?,
        stderr: offset("stderr_offset", part.stderr_offset.as_deref())?,
    };
    let follow = flag("follow", part.follow.as_deref())?.unwrap_or(true);
    let range = OutputRange { from, follow };
    let events = plane.engine.exec_output(&caller, (&id, &exec), range).await?;
    let source = Source::kept(exec, events, (from, follow));
    Ok(streamed(&plane, source, (part.encoding.unwrap_or_default(), &request_id)))
}

fn offset(field: &str, text: Option<&str>) -> Result<u64, Failure> {
    let problem = || Failure::invalid_field(field, "expected a number of bytes");
    text.map_or(Ok(0), |text| text.parse().map_err(|_| problem()))
}
