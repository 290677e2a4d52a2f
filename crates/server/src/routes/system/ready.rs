//! `GET /ready`: says whether the server can take work.

use api::Readiness;
use axum::extract::State;
use http::StatusCode;

use crate::convert;
use crate::extract::Reply;
use crate::state::Plane;

/// Say whether the server can take work.
///
/// For readiness probes: the store must answer and the default provider be healthy. Needs no
/// credential.
#[utoipa::path(
    get, path = "/api/v1/ready", operation_id = "ready", tag = "system",
    responses(
        (status = 200, description = "It can.", body = Readiness),
        (status = 503, description = "It cannot.", body = Readiness),
    ),
)]
pub(crate) async fn ready(State(plane): State<Plane>) -> Reply<Readiness> {
    let ready = plane.engine.ready().await;
    let reports = plane.engine.providers().await;
    let health = plane.health(if ready.is_ok() { "ready" } else { "not_ready" });
    let status = if ready.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = Readiness {
        status: health.status,
        providers: reports.iter().map(convert::provider).collect(),
        ready_providers: reports.iter().filter(|report| report.healthy.is_ok()).count() as u64,
        total_providers: reports.len() as u64,
        error: ready.err().map(|failure| failure.message),
        uptime: health.uptime,
        version: health.version,
    };
    Ok((status, axum::Json(body)))
}
