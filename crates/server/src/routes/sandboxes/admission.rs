//! `POST /sandboxes/admission`: whether a sandbox could be made now.

use api::{Admission, SpawnRequest};
use axum::extract::State;

use crate::convert;
use crate::extract::{By, Json, Reply, ok};
use crate::state::Plane;

/// Ask whether a sandbox could be made now.
///
/// Nothing is made or reserved. The answer is 200 also when it is no.
#[utoipa::path(
    post, path = "/api/v1/sandboxes/admission", operation_id = "sandboxes_admission",
    tag = "sandboxes",
    params(("X-User-ID" = Option<String>, Header, description = "Whom it would be attributed to.")),
    request_body = SpawnRequest,
    responses((status = 200, description = "Yes, or no and why.", body = Admission)),
)]
pub(crate) async fn admission(
    State(plane): State<Plane>,
    By(caller): By,
    Json(request): Json<SpawnRequest>,
) -> Reply<Admission> {
    let new = convert::new_sandbox(request, caller.owner.as_deref())?;
    Ok(ok(convert::admission(&plane.engine.admission(&caller, &new).await?)))
}
