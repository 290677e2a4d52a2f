//! The one shape of every error answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The coarse class: `BAD_REQUEST`, `UNAUTHORIZED`, `FORBIDDEN`, `NOT_FOUND`, `TIMEOUT`,
    /// `CONFLICT`, `RESOURCE_LIMIT`, `INTERNAL_ERROR` or `UNAVAILABLE`.
    pub code: String,
    /// What went wrong, for people.
    pub message: String,
    /// The fine reason, one of a closed list, for programs: `sandbox_not_found`.
    #[serde(default)]
    pub reason: String,
    /// Whether the same request can succeed another time: `never`, `later` or `after_change`.
    #[serde(default)]
    pub retry: String,
    /// Names this request in the server's log.
    #[serde(default)]
    pub request_id: String,
    /// Facts for programs: the field, the limit, the partial result.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, serde_json::Value>,
    /// The way out, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
