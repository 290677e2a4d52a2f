//! `GET /events`: where a stream of events begins, and its headers.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use model::Failure;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::error::ApiError;
use crate::events;
use crate::extract::Params;
use crate::state::Plane;

/// Where to begin.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Start {
    /// The sequence number that was seen last: what came after it is sent first. Default: the
    /// header `Last-Event-ID`, else from now on.
    #[param(value_type = Option<i64>)]
    after: Option<String>,
}

/// Follow events.
///
/// Server-sent events, each with its sequence number as `id` and the event as `data`; a comment
/// now and then shows that the stream is alive. Nothing is left out of a stream: a client that
/// reads slowly gets events late, and one that comes back with the last number that it saw misses
/// none that the server still keeps.
#[utoipa::path(
    get, path = "/api/v1/events", operation_id = "events", tag = "system",
    params(Start, ("Last-Event-ID" = Option<String>, Header, description = "As `after`.")),
    responses((
        status = 200, description = "Events, for ever.", content_type = "text/event-stream",
        body = api::Event,
    )),
)]
pub(crate) async fn events(
    State(plane): State<Plane>,
    Params(start): Params<Start>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let header = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
    let after = match (start.after.as_deref(), header) {
        (Some(text), _) => number("after", text)?,
        (None, Some(text)) => number("Last-Event-ID", text)?,
        (None, None) => *plane.engine.event_signal().borrow(),
    };
    let heartbeat = plane.settings.heartbeat;
    let stream = events::follow(plane.engine.clone(), after, heartbeat, plane.stopping.clone());
    let headers = [
        (CONTENT_TYPE.as_str(), "text/event-stream"),
        (CACHE_CONTROL.as_str(), "no-cache"),
        ("x-accel-buffering", "no"),
    ];
    Ok((headers, Body::from_stream(stream)).into_response())
}

fn number(field: &str, text: &str) -> Result<i64, Failure> {
    let number = text.parse().ok().filter(|number| *number >= 0);
    number.ok_or_else(|| Failure::invalid_field(field, "expected a sequence number from 0"))
}
