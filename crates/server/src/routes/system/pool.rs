//! `GET /pool/status`: the pool of shared machines, which there is not.

use api::PoolStatus;

use crate::extract::{Reply, ok};

/// Describe the pool of shared machines.
///
/// There is none: every sandbox is its own.
#[utoipa::path(
    get, path = "/api/v1/pool/status", operation_id = "pool_status", tag = "system",
    responses((status = 200, description = "There is none.", body = PoolStatus)),
)]
pub(crate) async fn status() -> Reply<PoolStatus> {
    Ok(ok(PoolStatus { enabled: false }))
}
