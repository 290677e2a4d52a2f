//! `GET /openapi.json`: the description of the API.

use axum::Extension;
use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;

use crate::state::Document;

/// Describe the API.
///
/// In `OpenAPI` 3.1.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", operation_id = "openapi", tag = "system",
    responses((status = 200, description = "This document.", body = serde_json::Value)),
)]
pub(crate) async fn document(Extension(document): Extension<Document>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], document.0)
}
