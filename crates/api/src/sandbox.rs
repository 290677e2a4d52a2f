//! Sandboxes: making, seeing and ending them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A sandbox to make. Every field may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SpawnRequest {
    /// The image. Default: the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The provider. Default: the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Memory in MiB. Default, also for 0: the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u32>,
    /// Processor cores. Default, also for 0: the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// Time to live: `30m`, `1h30m`. Default: the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// The template to make it from; refused, as this server has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Whom it is attributed to, when the header `X-User-ID` does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<String>,
    /// Accepted and not used: the tenant follows from the credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// The caller's own labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
}

/// A sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sandbox {
    /// Its name: `sb-` and 20 characters.
    pub id: String,
    /// `creating`, `running`, `unhealthy`, `expired`, `destroying`, `destroyed` or `error`.
    pub state: String,
    /// The provider that runs it.
    pub provider: String,
    /// The image that it was made from.
    pub image: String,
    /// Its memory limit in MiB.
    #[serde(default)]
    pub memory_mb: u32,
    /// Its processor cores.
    #[serde(default)]
    pub vcpus: u32,
    /// Whom it is attributed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<String>,
    /// The worker that runs it; `local` on a single host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
    /// When it was made, in RFC 3339.
    pub created_at: String,
    /// When it is destroyed unless it is extended, in RFC 3339.
    pub expires_at: String,
    /// The caller's own labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// A port N in it is at `http://N-<id>.<preview_domain>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview_domain: Option<String>,
    /// Why it ends or ended: `requested`, `expired`, `failed` or `vanished`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<String>,
    /// Why it could not be created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<SandboxError>,
}

/// Why a sandbox could not be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SandboxError {
    /// The fine reason, as in an error answer.
    pub reason: String,
    /// What went wrong, for people.
    pub message: String,
}

/// A new time to live.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendRequest {
    /// From now on: `30m`.
    #[serde(default)]
    pub ttl: Option<String>,
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// What was done: `destroyed`, `written`.
    pub status: String,
}

/// How many expired sandboxes were destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pruned {
    /// How many.
    pub pruned: u64,
}

/// Whether a sandbox could be made now. The fields are closed: published clients refuse others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Admission {
    /// Whether it could.
    pub allowed: bool,
    /// Whether the request would wait for room; never on this server.
    pub queueable: bool,
    /// The limit in the way: `max_ttl`, `max_sandboxes` or `max_sandboxes_per_owner`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Sandboxes alive.
    pub active_sandboxes: u64,
    /// How many there may be; 0 is no limit.
    pub max_sandboxes: u64,
    /// Sandboxes of the same owner alive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_owner_sandboxes: Option<u64>,
    /// How many the owner may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_owner_sandboxes: Option<u64>,
    /// The longest time to live: `24h0m0s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ttl: Option<String>,
}

/// How many owners have their own limits. The fields are closed: published clients refuse others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuotaSummary {
    /// Owners with limits of their own.
    pub total: u64,
    /// Of these, with their own number of sandboxes.
    pub with_max_sandboxes: u64,
    /// Of these, with their own time to live.
    pub with_max_ttl: u64,
    /// Of these, with their own exec timeout.
    pub with_max_exec_timeout: u64,
}

/// The pool of shared machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolStatus {
    /// Whether there is one; never on this server.
    pub enabled: bool,
}

/// What a sandbox uses now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    /// Whether the provider can tell; the other fields are there only then.
    pub supported: bool,
    /// Processor use in percent of one core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_pct: Option<f64>,
    /// Memory in use, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_bytes: Option<u64>,
    /// The memory limit in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_limit_bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admission_has_the_published_fields_in_their_order() {
        let admission = Admission {
            allowed: false,
            queueable: false,
            reason: Some("max_ttl".into()),
            active_sandboxes: 1,
            max_sandboxes: 2,
            active_owner_sandboxes: Some(3),
            max_owner_sandboxes: Some(4),
            max_ttl: Some("24h0m0s".into()),
        };
        assert_eq!(
            serde_json::to_string(&admission).unwrap(),
            r#"{"allowed":false,"queueable":false,"reason":"max_ttl","active_sandboxes":1,"#
                .to_owned()
                + r#""max_sandboxes":2,"active_owner_sandboxes":3,"max_owner_sandboxes":4,"#
                + r#""max_ttl":"24h0m0s"}"#
        );
    }

    #[test]
    fn a_memory_that_is_no_whole_positive_number_is_refused() {
        for memory in ["-1", "1.5", "\"512\"", "4294967296"] {
            let text = format!(r#"{{"memory_mb":{memory}}}"#);
            assert!(serde_json::from_str::<SpawnRequest>(&text).is_err(), "{memory}");
        }
    }
}
