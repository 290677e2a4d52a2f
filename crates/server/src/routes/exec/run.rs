//! `POST /sandboxes/{id}/exec`: runs a program, answered in one piece or as a stream.

use std::collections::BTreeMap;

use api::{ExecLine, ExecRequest};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use engine::{Caller, NewExec};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use model::{Failure, Outcome, Reason, SandboxId};
use serde_json::Value;

use crate::convert::Waits;
use crate::envelope::RequestId;
use crate::error::ApiError;
use crate::extract::{By, Id, Json, idempotency_key};
use crate::ndjson::Source;
use crate::state::Plane;
use crate::{convert, ndjson};

/// Run a program.
///
/// Answers when it has ended, with `stream` at once and then line by line, with `background` once
/// it runs. A non-zero exit code is a result, not an error. A timeout of a plain call is 408 with
/// what there is of the result in `details`; in a stream it is the outcome in the last line. Once
/// a stream has begun, its status says nothing about the program. With an `Idempotency-Key` a
/// request for a program in the background can be sent again and starts one program only.
#[utoipa::path(
    post, path = "/api/v1/sandboxes/{id}/exec", operation_id = "exec_run", tag = "exec",
    params(
        ("id" = String, Path, description = "The sandbox."),
        ("Idempotency-Key" = Option<String>, Header,
            description = "With `background`: a word of the caller's for this request."),
    ),
    request_body = ExecRequest,
    responses(
        (
            status = 200, description = "It ran, or, with `stream`, it runs: one object a line.",
            content((api::ExecResult = "application/json"), (ExecLine = "application/x-ndjson")),
        ),
        (status = 201, description = "With `background`: it runs.", body = api::Exec),
    ),
)]
pub(crate) async fn run(
    State(plane): State<Plane>,
    (By(caller), Id(id)): (By, Id),
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    Json(request): Json<ExecRequest>,
) -> Result<Response, ApiError> {
    let encoding = request.encoding.unwrap_or_default();
    let waits = Waits::of(&request)?;
    let key = idempotency_key(&headers, &request)?;
    let new = NewExec { idempotency_key: key, ..convert::new_exec(request, waits)? };
    match waits {
        Waits::ForResult => collected(&plane, (&caller, &id), new, encoding).await,
        Waits::Not => {
            let exec = plane.engine.exec_background(&caller, &id, new).await?;
            Ok((StatusCode::CREATED, axum::Json(convert::exec(exec))).into_response())
        }
        Waits::ForLines | Waits::OnSocket => {
            let exec = plane.engine.exec(&caller, &id, new).await?;
            Ok(streamed(&plane, Source::running(exec), (encoding, &request_id)))
        }
    }
}

/// The lines of a program's output.
pub(crate) fn streamed(
    plane: &Plane,
    source: Source,
    (encoding, request_id): (api::Encoding, &RequestId),
) -> Response {
    let heartbeat = plane.settings.heartbeat;
    let lines = ndjson::lines(source, encoding, heartbeat, request_id.as_str().to_owned());
    let headers = [
        (CONTENT_TYPE.as_str(), api::paths::NDJSON),
        (CACHE_CONTROL.as_str(), "no-cache"),
        ("x-accel-buffering", "no"),
    ];
    (headers, Body::from_stream(lines)).into_response()
}

async fn collected(
    plane: &Plane,
    (caller, id): (&Caller, &SandboxId),
    new: NewExec,
    encoding: api::Encoding,
) -> Result<Response, ApiError> {
    let result = plane.engine.exec_collect(caller, id, new).await?;
    let answer = convert::exec_result(&result, encoding);
    match &result.outcome {
        Outcome::TimedOut => Err(timed_out(id, &answer)),
        Outcome::Exited(_)
        | Outcome::Signaled(_)
        | Outcome::OomKilled
        | Outcome::Canceled
        | Outcome::SandboxLost
        | Outcome::StartFailed(..) => Ok(axum::Json(answer).into_response()),
    }
}

fn timed_out(id: &SandboxId, answer: &api::ExecResult) -> ApiError {
    let Ok(Value::Object(details)) = serde_json::to_value(answer) else {
        return Failure::internal("a result is not a JSON object").into();
    };
    let failure = Failure::new(Reason::ExecTimeout, format!("exec timeout: {id}"));
    ApiError::from(failure).with_details(BTreeMap::from_iter(details))
}
