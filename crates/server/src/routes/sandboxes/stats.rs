//! `GET /sandboxes/{id}/stats`: what a sandbox uses now.

use api::Stats;
use axum::extract::State;

use crate::extract::{By, Id, Reply, ok};
use crate::state::Plane;

/// Get what a sandbox uses now.
///
/// `supported` is false when its provider cannot tell.
#[utoipa::path(
    get, path = "/api/v1/sandboxes/{id}/stats", operation_id = "sandboxes_stats",
    tag = "sandboxes",
    params(("id" = String, Path, description = "The sandbox.")),
    responses((status = 200, description = "What it uses.", body = Stats)),
)]
pub(crate) async fn stats(State(plane): State<Plane>, By(caller): By, Id(id): Id) -> Reply<Stats> {
    let sample = plane.engine.stats(&caller, &id).await?;
    Ok(ok(Stats {
        supported: sample.is_some(),
        cpu_pct: sample.as_ref().map(|sample| sample.cpu_pct),
        mem_bytes: sample.as_ref().map(|sample| sample.stats.memory_bytes),
        mem_limit_bytes: sample.as_ref().map(|sample| sample.stats.memory_limit_bytes),
    }))
}
