//! Making a sandbox: checks, row, runtime; and moving its expiry.

use std::sync::Arc;
use std::time::Duration;

use model::{EndReason, Failure, Input, Phase, Sandbox, SandboxId};
use store::{Shown, TransitionError};

use crate::chronicle;
use crate::drive::Draft;
use crate::feed::News;
use crate::plane::Plane;
use crate::refuse::not_running;
use crate::request::{Caller, ListFilter, NewSandbox};
use crate::validate;

impl Plane {
    /// Makes a sandbox and waits until it runs.
    pub(crate) async fn spawn(
        self: &Arc<Self>,
        caller: &Caller,
        new: NewSandbox,
    ) -> Result<Sandbox, Failure> {
        let draft = self.draft(caller, new)?;
        let settled = self.launch(draft)?.wait().await;
        match &settled.before {
            Some(id) => self.made_before(id).await,
            None => settled.running(),
        }
    }

    /// The answer to a request that has been sent before: the sandbox once it runs, or what kept
    /// it from running.
    async fn made_before(self: &Arc<Self>, id: &SandboxId) -> Result<Sandbox, Failure> {
        let row = self.row(id).await?;
        if row.phase == Phase::Starting {
            return self.settle(id)?.wait().await.running();
        }
        match (row.phase, &row.failure) {
            (Phase::Stopping(EndReason::Failed) | Phase::Gone(EndReason::Failed), Some(why)) => {
                Err(Failure::new(why.0, why.1.clone()))
            }
            _ => Ok(row),
        }
    }

    fn draft(&self, caller: &Caller, new: NewSandbox) -> Result<Draft, Failure> {
        let options = &self.options;
        let ttl = validate::ttl(options, new.ttl.unwrap_or(options.default_ttl))?;
        let resources = validate::resources(options, &new)?;
        validate::metadata(options, &new.metadata)?;
        let owner = validate::owner(caller.owner.as_deref().or(new.owner.as_deref()))?;
        let image = new.image.unwrap_or_else(|| options.default_image.clone());
        validate::image(&image)?;
        let provider = new.provider.unwrap_or_else(|| options.default_provider.clone());
        self.providers.get(&provider).map_err(|mut failure| {
            failure.message = format!("getting provider: {}", failure.message);
            failure
        })?;
        let now = self.clock.now();
        let row = Sandbox {
            id: SandboxId::random(&mut rand::rng()),
            incarnation: 1,
            version: 1,
            phase: Phase::Starting,
            provider,
            image,
            resources,
            owner,
            metadata: new.metadata,
            created_at: now,
            expires_at: now.after(ttl),
            updated_at: now,
            handle: None,
            failure: None,
        };
        let key = new.idempotency_key.map(|key| key.within(caller, "sandbox"));
        Ok(Draft { row, caller: caller.clone(), key })
    }

    /// Ends a sandbox; with `wait`, returns when it is gone.
    pub(crate) async fn delete(
        self: &Arc<Self>,
        caller: &Caller,
        id: &SandboxId,
        wait: bool,
    ) -> Result<Sandbox, Failure> {
        let row = self.row(id).await?;
        if row.phase == Phase::Gone(EndReason::Failed) {
            return self.dismiss(caller, row).await;
        }
        let stop = News::new(Input::Stop(EndReason::Requested), caller);
        let fed = self.feed(id, Some(row), &stop).await?;
        if fed.row.phase.is_terminal() {
            return Ok(fed.row);
        }
        let ticket = self.settle(id)?;
        if !wait {
            return Ok(fed.row);
        }
        let row = ticket.wait().await.over()?;
        // The create that this stopped may have failed on its own meanwhile.
        if row.phase == Phase::Gone(EndReason::Failed) {
            return self.dismiss(caller, row).await;
        }
        Ok(row)
    }

    /// Takes a sandbox that could not be created off the list. It ended long ago: what changes
    /// is that somebody has read why.
    async fn dismiss(&self, caller: &Caller, mut row: Sandbox) -> Result<Sandbox, Failure> {
        while row.phase == Phase::Gone(EndReason::Failed) {
            let phase = Phase::Gone(EndReason::Requested);
            let after = Sandbox { phase, updated_at: self.clock.now(), ..row.clone() };
            let record = chronicle::moved(row.phase, &after, caller);
            match self.store.transition(&row, after, &record).await {
                Ok(after) => return Ok(after),
                Err(TransitionError::Conflict) => row = self.row(&row.id).await?,
                Err(TransitionError::Failed(failure)) => return Err(failure),
            }
        }
        Ok(row)
    }

    /// Gives a sandbox `ttl` from now on.
    pub(crate) async fn extend(
        &self,
        caller: &Caller,
        id: &SandboxId,
        ttl: Duration,
    ) -> Result<Sandbox, Failure> {
        let ttl = validate::ttl(&self.options, ttl)?;
        loop {
            let row = self.present(id).await?;
            match row.phase {
                Phase::Pending | Phase::Starting | Phase::Running | Phase::Lost => {}
                Phase::Stopping(_) | Phase::Gone(_) => return Err(not_running(&row)),
            }
            let now = self.clock.now();
            let after = Sandbox { expires_at: now.after(ttl), updated_at: now, ..row.clone() };
            let record = chronicle::extended(&after, caller);
            match self.store.transition(&row, after, &record).await {
                Ok(after) => {
                    self.due.notify_one();
                    return Ok(after);
                }
                Err(TransitionError::Conflict) => {}
                Err(TransitionError::Failed(failure)) => return Err(failure),
            }
        }
    }

    /// Sandboxes, the newest first.
    pub(crate) async fn list(&self, filter: &ListFilter) -> Result<Vec<Sandbox>, Failure> {
        let shown = match filter.state.as_deref() {
            Some("destroyed") => Shown::All,
            Some(_) | None => Shown::Present,
        };
        let mut rows = self.store.list(shown).await?;
        rows.retain(|row| {
            let state = filter.state.as_deref().is_none_or(|state| state == row.phase.wire_state());
            state && (filter.owner.is_none() || filter.owner == row.owner)
        });
        Ok(rows)
    }
}
