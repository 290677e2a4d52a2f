//! `GET /sandboxes/{id}/files/watch`: follows what happens to files.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use model::{Failure, FileEvent};
use serde::Deserialize;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;

use crate::convert;
use crate::error::ApiError;
use crate::extract::{By, Id, Params, flag};
use crate::state::Plane;

/// What to follow.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct What {
    /// The absolute path of a file or directory in the sandbox.
    #[param(required)]
    path: Option<String>,
    /// Whether directories in the directory are followed too. Default: `false`.
    recursive: Option<String>,
}

/// Follow files.
///
/// Server-sent events, each with one change as `data`; a comment now and then shows that the stream
/// is alive. With `recursive` new directories are followed too, and what is in them already is told
/// as created, which may be twice. A move that is seen on one side alone is `created` or `deleted`.
/// `overflow` says that changes were missed: look again. At most 8192 directories are followed.
#[utoipa::path(
    get, path = "/api/v1/sandboxes/{id}/files/watch", operation_id = "files_watch", tag = "files",
    params(("id" = String, Path, description = "The sandbox."), What),
    responses((
        status = 200, description = "Changes, for ever.", content_type = "text/event-stream",
        body = api::FileEvent,
    )),
)]
pub(crate) async fn watch(
    State(plane): State<Plane>,
    By(caller): By,
    Id(id): Id,
    Params(what): Params<What>,
) -> Result<Response, ApiError> {
    let path = convert::path("path", what.path)?;
    let recursive = flag("recursive", what.recursive.as_deref())?.unwrap_or(false);
    let events = plane.engine.watch_files(&caller, &id, (&path, recursive)).await?;
    let frames = frames(events, plane.settings.heartbeat, plane.stopping.clone());
    let headers = [
        (CONTENT_TYPE.as_str(), "text/event-stream"),
        (CACHE_CONTROL.as_str(), "no-cache"),
        ("x-accel-buffering", "no"),
    ];
    Ok((headers, Body::from_stream(frames)).into_response())
}

/// Events as frames, until the sandbox or the server ends.
fn frames(
    events: BoxStream<'static, Result<FileEvent, Failure>>,
    heartbeat: Duration,
    stopping: CancellationToken,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send {
    // Headers are sent with the first bytes of a body: the client shall know that it is heard.
    let begun = stream::iter([Ok(Bytes::from_static(b": watching\n\n"))]);
    begun.chain(stream::unfold((events, stopping), move |(mut events, stopping)| async move {
        let next = stopping.run_until_cancelled(timeout(heartbeat, events.next())).await?;
        let frame = match next {
            Err(_) => ": heartbeat\n\n".to_owned(),
            Ok(Some(Ok(event))) => {
                let data = serde_json::to_string(&convert::file_event(event));
                format!("data: {}\n\n", data.expect("an event of strings is JSON"))
            }
            Ok(Some(Err(failure))) => {
                tracing::debug!(causes = failure.causes(), "a file watch ended: {failure}");
                return None;
            }
            Ok(None) => return None,
        };
        Some((Ok(Bytes::from(frame)), (events, stopping)))
    }))
}
