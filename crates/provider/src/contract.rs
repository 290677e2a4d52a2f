//! What a runtime has to be able to do.

use std::sync::Arc;

use async_trait::async_trait;
use model::{Failure, Reason, Resources, SandboxName, Stats};

use crate::guest::Guest;

/// A runtime that makes sandboxes.
///
/// Every method may be called at the same time as every other, for the same sandbox too. A
/// driver's [`Failure`] says nothing of the host in its message; that goes into the cause.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// The name that callers select the provider by: `[a-z0-9-]`, at most 32 characters.
    fn name(&self) -> &str;

    /// What the provider can do beyond the required methods.
    fn capabilities(&self) -> &[Capability];

    /// Facts about the configuration, for people; no secrets.
    fn facts(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Whether a create could succeed now; the failure says what is missing and how to mend it.
    ///
    /// *Requires*: nothing. *Idempotence*: yes. *Cancellation*: safe.
    async fn probe(&self) -> Result<(), Failure>;

    /// Makes the runtime of `name`. When it returns, the runtime's agent can be connected to.
    ///
    /// *Requires*: a name that was never given to another spec.
    /// *Idempotence*: if the runtime of `name` exists, it is returned.
    /// *Cancellation*: may leave a part behind, which `list` shows and `destroy` removes; so may
    /// a failure.
    async fn create(
        &self,
        name: &SandboxName,
        spec: &RuntimeSpec,
    ) -> Result<RuntimeHandle, Failure>;

    /// What there is of the runtime of `name`.
    ///
    /// *Requires*: nothing. *Idempotence*: yes. *Cancellation*: safe.
    async fn inspect(&self, name: &SandboxName) -> Result<RuntimeStatus, Failure>;

    /// Every runtime, and every part of one, that this instance ever made and that is still
    /// there, whatever state a crash left it in. Runtimes of other instances are not shown.
    ///
    /// *Requires*: nothing. *Idempotence*: yes. *Cancellation*: safe.
    async fn list(&self) -> Result<Vec<RuntimeEntry>, Failure>;

    /// Removes the runtime of `name` with everything that belongs to it: when it returns, no
    /// process, mount, directory or other object of it is left.
    ///
    /// *Requires*: nothing; it is by name so that it works when a create failed half way.
    /// *Idempotence*: absent is success.
    /// *Cancellation*: the removal may go on, and is finished by the next call.
    async fn destroy(&self, name: &SandboxName) -> Result<(), Failure>;

    /// A connection to the agent of a runtime.
    ///
    /// *Requires*: a handle that `create` returned for `name`.
    /// *Idempotence*: every call is a new connection; processes outlive them.
    /// *Cancellation*: safe.
    async fn connect(
        &self,
        name: &SandboxName,
        handle: &RuntimeHandle,
    ) -> Result<Arc<dyn Guest>, Failure>;

    /// What the runtime uses now.
    ///
    /// *Requires*: [`Capability::Usage`]. *Idempotence*: yes. *Cancellation*: safe.
    async fn usage(&self, _name: &SandboxName) -> Result<Stats, Failure> {
        Err(unsupported(self.name(), "usage"))
    }

    /// Ends what the provider itself has running; sandboxes are left as they are.
    ///
    /// *Requires*: no other call is under way. *Idempotence*: yes. *Cancellation*: safe.
    async fn close(&self) {}
}

/// The failure of an operation that a provider cannot do.
pub fn unsupported(provider: &str, operation: &'static str) -> Failure {
    Failure::new(Reason::Unsupported, format!("provider {provider} cannot do this: {operation}"))
        .detail("provider", provider)
        .detail("operation", operation)
}

/// Something that not every provider can do, or that callers look for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Capability {
    /// Creates and destroys sandboxes.
    Spawn,
    /// Runs programs.
    Exec,
    /// Streams their output.
    ExecStream,
    /// Reads and writes files.
    Files,
    /// Keeps the last lines of output.
    Console,
    /// Says whether it works.
    Health,
    /// Lists its runtimes.
    RuntimeInventory,
    /// Connects to ports inside.
    Ports,
    /// Tells what a sandbox uses.
    Usage,
    /// Sandboxes outlive the control plane.
    SurvivesRestart,
    /// Isolates by Linux namespaces.
    Namespaces,
    /// Keeps nothing: for tests of the control plane.
    TestProvider,
}

impl Capability {
    /// The capability's word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Spawn => "spawn",
            Self::Exec => "exec",
            Self::ExecStream => "exec_stream",
            Self::Files => "files",
            Self::Console => "console",
            Self::Health => "health",
            Self::RuntimeInventory => "runtime_inventory",
            Self::Ports => "ports",
            Self::Usage => "usage",
            Self::SurvivesRestart => "survives_restart",
            Self::Namespaces => "namespaces",
            Self::TestProvider => "test_provider",
        }
    }
}

/// What a runtime is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeSpec {
    /// The image's name.
    pub image: String,
    /// Its limits.
    pub resources: Resources,
    /// How many programs may run in it at once; the agent holds it.
    pub execs_max: u32,
}

/// How a driver finds a runtime again; opaque to everybody else, kept in the sandbox's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeHandle(pub String);

/// What there is of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeStatus {
    /// Its agent runs.
    Running,
    /// Something of it is there, but no agent runs.
    Broken,
    /// Nothing of it is there.
    Absent,
}

/// A runtime that exists, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeEntry {
    /// Whose it is.
    pub name: SandboxName,
    /// What there is of it; never [`RuntimeStatus::Absent`].
    pub status: RuntimeStatus,
}
