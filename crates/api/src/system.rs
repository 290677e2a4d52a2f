//! Whether the server is there and works.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::provider::Provider;

/// The server is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`, or `alive` on the liveness route.
    pub status: String,
    /// Since the server started: `1h30m0s`.
    pub uptime: String,
    /// The server's version.
    pub version: String,
}

/// Whether the server can take work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// `ready` or `not_ready`.
    pub status: String,
    /// Every provider.
    pub providers: Vec<Provider>,
    /// How many providers are healthy.
    pub ready_providers: u64,
    /// How many providers there are.
    pub total_providers: u64,
    /// What keeps the server from being ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Since the server started: `1h30m0s`.
    pub uptime: String,
    /// The server's version.
    pub version: String,
}
