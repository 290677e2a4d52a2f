//! What makes sandboxes, and whether it works.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A provider and its health.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Provider {
    /// The name that requests select it by.
    pub name: String,
    /// Whether a sandbox could be created now.
    pub healthy: bool,
    /// Whether it is used when a request names none.
    pub default: bool,
    /// How long the check took, in milliseconds.
    pub latency_ms: u64,
    /// When it was checked, in RFC 3339.
    pub last_checked: String,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// How many runtimes it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_count: Option<u64>,
}

/// A provider with its configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProviderDetail {
    /// The name that requests select it by.
    pub name: String,
    /// Whether a sandbox could be created now.
    pub healthy: bool,
    /// Whether it is used when a request names none.
    pub default: bool,
    /// How many sandboxes of it are alive.
    pub sandbox_count: u64,
    /// The check in full.
    pub health: Provider,
    /// Facts about it, by name; no secrets.
    pub config: BTreeMap<String, String>,
}
