//! Makes and removes runtimes. Nothing else calls a provider's `create` and `destroy`: not a
//! request, not the reaper, not reconciling; they all come here.
//!
//! At most one drive of a sandbox is under way. It is a task of the engine, so a caller that
//! gives up stops waiting and nothing else. A drive that is asked for while one is under way is
//! one more round of that one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use model::{Effect, Failure, Input, Phase, Reason, Sandbox, SandboxId, SandboxName};
use provider::{Provider, RuntimeSpec, RuntimeStatus};
use store::{Inserted, Key, Limits};
use tokio::sync::watch;

use crate::chronicle;
use crate::feed::News;
use crate::plane::{Plane, locked};
use crate::refuse::shutting_down;
use crate::request::Caller;

/// A new sandbox that has been checked and has no row yet.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) row: Sandbox,
    pub(crate) caller: Caller,
    pub(crate) key: Option<Key>,
}

/// Where a drive left its sandbox.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settled {
    /// The row, if there is one.
    pub(crate) row: Option<Sandbox>,
    /// What went wrong first.
    pub(crate) failure: Option<Failure>,
    /// The sandbox that the same request made before, so that this one was not made.
    pub(crate) before: Option<SandboxId>,
}

impl Settled {
    fn at(row: Sandbox) -> Self {
        Self { row: Some(row), ..Self::default() }
    }

    fn failed(row: Option<Sandbox>, failure: Failure) -> Self {
        Self { row, failure: Some(failure), before: None }
    }
}

/// The drives that are under way.
#[derive(Debug, Default)]
pub(crate) struct Drives(Mutex<HashMap<SandboxId, UnderWay>>);

#[derive(Debug)]
struct UnderWay {
    /// Whether one more round was asked for.
    again: bool,
    outcome: watch::Receiver<Option<Settled>>,
}

impl Drives {
    /// Whether a drive of this sandbox is under way.
    pub(crate) fn has(&self, id: &SandboxId) -> bool {
        locked(&self.0).contains_key(id)
    }

    /// Whether there is one more round; if not, the drive is over.
    fn again(&self, id: &SandboxId) -> bool {
        let mut drives = locked(&self.0);
        let again = drives.get_mut(id).is_some_and(|drive| std::mem::take(&mut drive.again));
        if !again {
            drives.remove(id);
        }
        again
    }
}

/// Waits for the end of a drive.
#[derive(Debug)]
pub(crate) struct Ticket(watch::Receiver<Option<Settled>>);

impl Ticket {
    pub(crate) async fn wait(mut self) -> Settled {
        let settled = self.0.wait_for(Option::is_some).await.map(|settled| settled.clone());
        settled.ok().flatten().unwrap_or_else(|| Settled::failed(None, shutting_down()))
    }
}

/// Removes a drive that ends without having said so: by a panic, or with the engine.
struct Leave {
    plane: Arc<Plane>,
    id: SandboxId,
    over: bool,
}

impl Drop for Leave {
    fn drop(&mut self) {
        if !self.over {
            locked(&self.plane.drives.0).remove(&self.id);
        }
    }
}

impl Plane {
    /// Stores a new sandbox and makes its runtime.
    pub(crate) fn launch(self: &Arc<Self>, draft: Draft) -> Result<Ticket, Failure> {
        let id = draft.row.id.clone();
        self.enter(id, Some(draft))
    }

    /// Does for a sandbox what its row says is to be done.
    pub(crate) fn settle(self: &Arc<Self>, id: &SandboxId) -> Result<Ticket, Failure> {
        self.enter(id.clone(), None)
    }

    fn enter(self: &Arc<Self>, id: SandboxId, draft: Option<Draft>) -> Result<Ticket, Failure> {
        let (sender, outcome) = watch::channel(None);
        {
            let mut drives = locked(&self.drives.0);
            if let Some(drive) = drives.get_mut(&id) {
                drive.again = true;
                return Ok(Ticket(drive.outcome.clone()));
            }
            drives.insert(id.clone(), UnderWay { again: false, outcome: outcome.clone() });
        }
        // A task that is refused is dropped, and its `Leave` takes the drive out again.
        let leave = Leave { plane: self.clone(), id, over: false };
        self.tasks.spawn(drive(leave, draft, sender))?;
        Ok(Ticket(outcome))
    }

    async fn create(&self, draft: Draft) -> Settled {
        let Draft { row, caller, key } = draft;
        let limits = Limits {
            total: self.options.max_sandboxes,
            per_owner: self.options.max_sandboxes_per_owner,
        };
        let record = chronicle::created(&row, &caller);
        match self.store.insert(&row, (limits, key.as_ref()), &record).await {
            Ok(Inserted::New) => {}
            Ok(Inserted::Before(id)) => return Settled { before: Some(id), ..Settled::default() },
            Err(failure) => return Settled::failed(None, failure),
        }
        self.due.notify_one();
        let name = row.name();
        let spec = RuntimeSpec {
            image: row.image.clone(),
            resources: row.resources,
            execs_max: self.options.max_execs,
        };
        let made = match self.providers.get(&row.provider) {
            Ok(provider) => provider.create(&name, &spec).await,
            Err(failure) => Err(failure),
        };
        if let Ok(handle) = &made {
            self.connect_early(&row, handle);
        }
        let failure = made.as_ref().err().map(create_failure);
        let news = News {
            input: if failure.is_none() { Input::Created } else { Input::CreateFailed },
            caller: &caller,
            handle: made.ok(),
            failure: failure.as_ref(),
            expired_at: None,
        };
        let id = row.id.clone();
        let mut settled = match self.feed(&id, Some(row.clone()), &news).await {
            Ok(fed) if fed.effect == Effect::Destroy => self.remove(fed.row, &caller).await,
            Ok(fed) => Settled::at(fed.row),
            Err(failure) => {
                // The row still says that the create is under way; reconciling ends it. Nothing
                // may run meanwhile that nobody was told of.
                self.erase(&row.provider, &name).await.unwrap_or_else(|error| {
                    tracing::warn!(sandbox = %id, %error, causes = error.causes(), "not removed");
                });
                Settled::failed(None, failure)
            }
        };
        settled.failure = failure.or(settled.failure);
        settled
    }

    /// Does what the row says.
    async fn round(&self, id: &SandboxId) -> Settled {
        let caller = Caller::default();
        let fed = match self.feed(id, None, &News::new(Input::Retry, &caller)).await {
            Ok(fed) => fed,
            Err(failure) => return Settled::failed(None, failure),
        };
        match fed.effect {
            Effect::Destroy => self.remove(fed.row, &caller).await,
            Effect::None | Effect::Create => Settled::at(fed.row),
        }
    }

    /// Removes the runtime of a row that is stopping, and stores that it is gone.
    async fn remove(&self, row: Sandbox, caller: &Caller) -> Settled {
        let id = row.id.clone();
        if let Err(failure) = self.erase(&row.provider, &row.name()).await {
            tracing::warn!(sandbox = %id, error = %failure, causes = failure.causes(),
                "the runtime could not be removed, it is tried again");
            locked(&self.retries).failed(&id, self.clock.now());
            self.due.notify_one();
            return Settled::failed(Some(row), failure);
        }
        match self.feed(&id, Some(row), &News::new(Input::Destroyed, caller)).await {
            Ok(fed) => Settled::at(fed.row),
            Err(failure) => {
                locked(&self.retries).failed(&id, self.clock.now());
                self.due.notify_one();
                Settled::failed(None, failure)
            }
        }
    }

    /// Removes a runtime, and believes it only when the provider no longer sees it.
    pub(crate) async fn erase(&self, provider: &str, name: &SandboxName) -> Result<(), Failure> {
        let provider = self.providers.get(provider)?;
        locked(&self.guests).forget(name);
        provider.destroy(name).await?;
        verified(provider.as_ref(), name).await
    }
}

async fn verified(provider: &dyn Provider, name: &SandboxName) -> Result<(), Failure> {
    match provider.inspect(name).await? {
        RuntimeStatus::Absent => Ok(()),
        RuntimeStatus::Running | RuntimeStatus::Broken => Err(Failure::new(
            Reason::ProviderUnavailable,
            format!("provider {} left a part of the sandbox behind", provider.name()),
        )),
    }
}

/// A provider's failure as the creator of a sandbox sees it: a defect below is a create that
/// failed.
fn create_failure(failure: &Failure) -> Failure {
    if failure.reason == Reason::Internal {
        return Failure::new(Reason::CreateFailed, "sandbox could not be created")
            .caused_by(failure.clone());
    }
    failure.clone()
}

async fn drive(mut leave: Leave, draft: Option<Draft>, outcome: watch::Sender<Option<Settled>>) {
    let (plane, id) = (leave.plane.clone(), leave.id.clone());
    let mut settled = match draft {
        Some(draft) => plane.create(draft).await,
        None => plane.round(&id).await,
    };
    while plane.drives.again(&id) {
        let first = settled.failure.take();
        // A sandbox that never got a row has nothing to be settled.
        if settled.before.is_none() && (settled.row.is_some() || first.is_none()) {
            settled = plane.round(&id).await;
        }
        settled.failure = first.or(settled.failure);
    }
    leave.over = true;
    outcome.send_replace(Some(settled));
}

impl Settled {
    /// The row of a sandbox that is over; else why it is not.
    pub(crate) fn over(self) -> Result<Sandbox, Failure> {
        match (self.row, self.failure) {
            (Some(row), _) if row.phase.is_terminal() => Ok(row),
            (_, Some(failure)) => Err(failure),
            (Some(row), None) => Err(crate::refuse::not_running(&row)),
            (None, None) => Err(shutting_down()),
        }
    }

    /// The row of a sandbox that runs; else why it does not.
    pub(crate) fn running(self) -> Result<Sandbox, Failure> {
        match (self.row, self.failure) {
            (Some(row), _) if row.phase == Phase::Running => Ok(row),
            (_, Some(failure)) => Err(failure),
            (Some(row), None) => Err(crate::refuse::not_running(&row)),
            (None, None) => Err(shutting_down()),
        }
    }
}
