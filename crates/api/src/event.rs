//! Events, as the event stream sends them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// `evt-` and the sequence number.
    pub id: String,
    /// What happened: `sandbox.running`, `exec.completed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The sandbox that it happened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_id: Option<String>,
    /// When, in RFC 3339.
    pub timestamp: String,
    /// Facts, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    /// Its place in the order of all events, from 1, without gaps: give it back as `?after=`.
    #[serde(default)]
    pub seq: i64,
}
