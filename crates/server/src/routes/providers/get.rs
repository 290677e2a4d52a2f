//! `GET /providers/{name}`: one provider, its health and its configuration.

use api::ProviderDetail;
use axum::extract::{Path, State};
use model::{Failure, Reason};

use crate::convert;
use crate::error::echo;
use crate::extract::{Reply, ok};
use crate::state::Plane;

/// The longest name of a provider.
const NAME_BYTES_MAX: usize = 32;

/// Get a provider.
///
/// It is checked now.
#[utoipa::path(
    get, path = "/api/v1/providers/{name}", operation_id = "providers_get", tag = "providers",
    params(("name" = String, Path, description = "The provider.")),
    responses((status = 200, description = "The provider.", body = ProviderDetail)),
)]
pub(crate) async fn get(
    State(plane): State<Plane>,
    Path(name): Path<String>,
) -> Reply<ProviderDetail> {
    if name.len() > NAME_BYTES_MAX {
        let message = format!("provider not found: {}", echo(&name));
        return Err(Failure::new(Reason::ProviderNotFound, message).into());
    }
    Ok(ok(convert::provider_detail(&plane.engine.provider(&name).await?)))
}
