//! `GET /quotas/summary`: how many owners have limits of their own.

use api::QuotaSummary;

use crate::extract::{Reply, ok};

/// Count the owners with limits of their own.
///
/// There are none: the limits of the configuration hold for all.
#[utoipa::path(
    get, path = "/api/v1/quotas/summary", operation_id = "quotas_summary", tag = "system",
    responses((status = 200, description = "How many.", body = QuotaSummary)),
)]
pub(crate) async fn summary() -> Reply<QuotaSummary> {
    Ok(ok(QuotaSummary::default()))
}
