//! A sandbox, as its row tells it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::id::SandboxId;
use crate::phase::Phase;
use crate::reason::Reason;

/// Everything that is known about a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// Its name for ever.
    pub id: SandboxId,
    /// Which of its runtimes the row is about, from 1. An older one is never talked to again.
    pub incarnation: u32,
    /// Counts the row's changes; a change names the version that it was made from.
    pub version: i64,
    /// Where it stands in its life.
    pub phase: Phase,
    /// The provider that runs it.
    pub provider: String,
    /// The image that it was made from.
    pub image: String,
    /// Its limits.
    pub resources: Resources,
    /// Whom the caller named as its owner: attribution, not identity.
    pub owner: Option<String>,
    /// The caller's own labels.
    pub metadata: BTreeMap<String, String>,
    /// When its row was made.
    pub created_at: Timestamp,
    /// When it is destroyed unless it is extended.
    pub expires_at: Timestamp,
    /// When its row last changed.
    pub updated_at: Timestamp,
    /// How the provider finds its runtime; opaque to everybody else.
    pub handle: Option<String>,
    /// Why it could not be created.
    pub failure: Option<(Reason, String)>,
}

impl Sandbox {
    /// Its runtime's name: the sandbox and the incarnation.
    pub fn name(&self) -> SandboxName {
        SandboxName { id: self.id.clone(), incarnation: self.incarnation }
    }
}

/// Names one runtime of one sandbox: every object on a host carries it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SandboxName {
    /// The sandbox.
    pub id: SandboxId,
    /// Its incarnation, from 1.
    pub incarnation: u32,
}

impl fmt::Display for SandboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.incarnation)
    }
}

/// What a sandbox may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Processor cores.
    pub vcpus: u32,
    /// Processes and threads.
    pub pids: u32,
}

/// What a sandbox uses now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stats {
    /// Processor time since the sandbox was made.
    pub cpu: Duration,
    /// Memory in use, in bytes.
    pub memory_bytes: u64,
    /// The memory limit in bytes.
    pub memory_limit_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
}
