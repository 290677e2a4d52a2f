//! A test double: a provider whose runtimes are values in memory.
//!
//! It isolates nothing and runs no programs of the host. Tests of the engine and the server use
//! it in place of a runtime: it keeps every line of the contract, does the same thing every time,
//! and can be told to lose a runtime, its agent or its connections.

mod files;
mod guest;
mod program;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use model::{Failure, Reason, SandboxName, Stats};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use crate::contract::{
    Capability, Provider, RuntimeEntry, RuntimeHandle, RuntimeSpec, RuntimeStatus,
};
use crate::guest::Guest;
use guest::{MemoryGuest, Runtime};

/// Connections to a port of [`MemoryProvider::listen`] that wait to be taken.
const BACKLOG: usize = 16;

/// What every runtime says it uses, per process of its agent.
const MEMORY_BYTES: u64 = 1024 * 1024;

type Listeners = Arc<Mutex<HashMap<u16, mpsc::Sender<DuplexStream>>>>;

/// Keeps runtimes in memory. A clone is the same provider.
#[derive(Clone)]
pub struct MemoryProvider {
    name: String,
    runtimes: Arc<Mutex<BTreeMap<SandboxName, Arc<Runtime>>>>,
    listeners: Listeners,
}

impl Default for MemoryProvider {
    /// A provider called `memory`.
    fn default() -> Self {
        Self::new("memory")
    }
}

impl MemoryProvider {
    /// A provider of that name without runtimes.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), runtimes: Arc::default(), listeners: Arc::default() }
    }

    /// The runtimes that there are.
    pub fn names(&self) -> Vec<SandboxName> {
        self.runtimes().keys().cloned().collect()
    }

    /// Takes a runtime away without anybody having asked, as a crash of the host would.
    pub fn vanish(&self, name: &SandboxName) {
        let runtime = self.runtimes().remove(name);
        if let Some(runtime) = runtime {
            runtime.end();
        }
    }

    /// Ends a runtime's agent and leaves the rest of it.
    pub fn break_agent(&self, name: &SandboxName) {
        let runtime = self.runtimes().get(name).cloned();
        if let Some(runtime) = runtime {
            runtime.end();
        }
    }

    /// Cuts every connection to a runtime's agent; its programs go on.
    pub fn sever(&self, name: &SandboxName) {
        let runtime = self.runtimes().get(name).cloned();
        if let Some(runtime) = runtime {
            runtime.sever();
        }
    }

    /// Listens on a port in every runtime and hands out the connections to it. A port that
    /// nobody listens on echoes, except [`CLOSED_PORT`].
    pub fn listen(&self, port: u16) -> mpsc::Receiver<DuplexStream> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        locked(&self.listeners).insert(port, sender);
        receiver
    }

    fn runtimes(&self) -> MutexGuard<'_, BTreeMap<SandboxName, Arc<Runtime>>> {
        locked(&self.runtimes)
    }
}

/// The port on which nothing ever listens.
pub const CLOSED_PORT: u16 = 9;

/// The value behind a lock. A test that panicked with it has failed already.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Provider for MemoryProvider {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> &[Capability] {
        &[
            Capability::Spawn,
            Capability::Exec,
            Capability::ExecStream,
            Capability::Files,
            Capability::Console,
            Capability::Health,
            Capability::RuntimeInventory,
            Capability::Ports,
            Capability::Usage,
            Capability::TestProvider,
        ]
    }

    fn facts(&self) -> Vec<(String, String)> {
        vec![("type".into(), "memory".into())]
    }

    async fn probe(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn create(
        &self,
        name: &SandboxName,
        spec: &RuntimeSpec,
    ) -> Result<RuntimeHandle, Failure> {
        if spec.image == "missing" {
            let message = format!("image not found: {}", spec.image);
            return Err(Failure::new(Reason::ImageNotFound, message));
        }
        let mut runtimes = self.runtimes();
        runtimes
            .entry(name.clone())
            .or_insert_with(|| Arc::new(Runtime::new(spec.resources, self.listeners.clone())));
        Ok(RuntimeHandle(format!("memory:{name}")))
    }

    async fn inspect(&self, name: &SandboxName) -> Result<RuntimeStatus, Failure> {
        let runtime = self.runtimes().get(name).cloned();
        Ok(runtime.map_or(RuntimeStatus::Absent, |runtime| runtime.status()))
    }

    async fn list(&self) -> Result<Vec<RuntimeEntry>, Failure> {
        let runtimes = self.runtimes();
        let entry = |(name, runtime): (&SandboxName, &Arc<Runtime>)| RuntimeEntry {
            name: name.clone(),
            status: runtime.status(),
        };
        Ok(runtimes.iter().map(entry).collect())
    }

    async fn destroy(&self, name: &SandboxName) -> Result<(), Failure> {
        self.vanish(name);
        Ok(())
    }

    async fn connect(
        &self,
        name: &SandboxName,
        _handle: &RuntimeHandle,
    ) -> Result<Arc<dyn Guest>, Failure> {
        let runtime = self.runtimes().get(name).cloned();
        match runtime {
            Some(runtime) if runtime.status() == RuntimeStatus::Running => {
                Ok(Arc::new(MemoryGuest::connect(runtime)))
            }
            Some(_) | None => Err(lost()),
        }
    }

    async fn usage(&self, name: &SandboxName) -> Result<Stats, Failure> {
        let runtime = self.runtimes().get(name).cloned().ok_or_else(lost)?;
        Ok(Stats {
            cpu: Duration::from_millis(1),
            memory_bytes: MEMORY_BYTES,
            memory_limit_bytes: u64::from(runtime.resources.memory_mib) * 1024 * 1024,
            pids: 1,
        })
    }
}

/// The failure of a call whose connection or runtime is gone.
fn lost() -> Failure {
    Failure::new(Reason::SandboxUnreachable, "the sandbox does not answer")
}

#[cfg(test)]
mod tests;
