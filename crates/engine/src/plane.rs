//! What every part of the engine shares. Cheap to pass on; a task that outlives a call holds it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{Clock, Failure, Sandbox, SandboxId, Timestamp};
use store::Store;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::drive::Drives;
use crate::execs::Followed;
use crate::files::Samples;
use crate::guests::Guests;
use crate::journal::Journal;
use crate::options::EngineOptions;
use crate::providers::Providers;
use crate::reap::Retries;
use crate::refuse::{gone, not_found, not_running};
use crate::tasks::Tasks;

/// The engine's state. Everything but the store is only speed: a new plane on the same store and
/// providers goes on where this one stopped.
pub(crate) struct Plane {
    pub(crate) options: EngineOptions,
    pub(crate) store: Store,
    pub(crate) providers: Providers,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) started_at: Timestamp,
    pub(crate) journal: Journal,
    pub(crate) tasks: Tasks,
    /// Canceled when the engine shuts down.
    pub(crate) stop: CancellationToken,
    /// Wakes the reaper: something may be due earlier than it knows.
    pub(crate) due: Notify,
    pub(crate) drives: Drives,
    pub(crate) retries: Mutex<Retries>,
    pub(crate) guests: Mutex<Guests>,
    pub(crate) samples: Mutex<Samples>,
    pub(crate) followed: Followed,
}

/// The value behind a lock. No code panics while it holds one of the plane's.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Plane {
    pub(crate) fn new(
        options: EngineOptions,
        store: Store,
        providers: Providers,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            started_at: clock.now(),
            journal: Journal::start(store.clone()),
            options,
            store,
            providers,
            clock,
            tasks: Tasks::default(),
            stop: CancellationToken::new(),
            due: Notify::new(),
            drives: Drives::default(),
            retries: Mutex::default(),
            guests: Mutex::default(),
            samples: Mutex::new(HashMap::new()),
            followed: Followed::default(),
        }
    }

    /// The row of a sandbox, whatever has become of it.
    pub(crate) async fn row(&self, id: &SandboxId) -> Result<Sandbox, Failure> {
        self.store.get(id).await?.ok_or_else(|| not_found(id))
    }

    /// The row of a sandbox that was not destroyed.
    pub(crate) async fn present(&self, id: &SandboxId) -> Result<Sandbox, Failure> {
        let row = self.row(id).await?;
        if row.phase.wire_state() == "destroyed" { Err(gone(id)) } else { Ok(row) }
    }

    /// The row of a sandbox that takes work. One that was lost is looked at again first.
    pub(crate) async fn at_work(self: &Arc<Self>, id: &SandboxId) -> Result<Sandbox, Failure> {
        let mut row = self.row(id).await?;
        if row.phase == model::Phase::Lost {
            self.check(&row).await?;
            row = self.row(id).await?;
        }
        if row.phase.takes_work() { Ok(row) } else { Err(not_running(&row)) }
    }
}
