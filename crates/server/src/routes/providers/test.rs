//! `POST /providers/test`: which providers work.

use std::collections::BTreeMap;

use axum::extract::State;

use crate::extract::{Reply, ok};
use crate::state::Plane;

/// Check every provider.
///
/// By name, whether a sandbox could be created now.
#[utoipa::path(
    post, path = "/api/v1/providers/test", operation_id = "providers_test", tag = "providers",
    responses((status = 200, description = "What works.", body = BTreeMap<String, bool>)),
)]
pub(crate) async fn test(State(plane): State<Plane>) -> Reply<BTreeMap<String, bool>> {
    let reports = plane.engine.providers().await;
    Ok(ok(reports.into_iter().map(|report| (report.name, report.healthy.is_ok())).collect()))
}
