//! Compares rows and runtimes, and puts right what differs: at start, on a timer, and for one
//! sandbox whenever something about it looks wrong.
//!
//! It takes no input, may run at any time and any number of times, and acts only by feeding
//! reports to rows and by [`crate::drive`]. A sandbox with a drive under way is left to it.

use std::sync::Arc;

use futures::{StreamExt, stream};
use model::{EndReason, Failure, Input, Phase, Reason, Sandbox, Timestamp};
use provider::{Provider, RuntimeEntry, RuntimeStatus};

use crate::chronicle::{self, facts};
use crate::feed::News;
use crate::plane::Plane;
use crate::request::Caller;

/// Sandboxes and runtimes that are looked at at the same time: providers are asked one question
/// each, so this is what a provider meets at once.
const PARALLEL: usize = 16;

/// What reconciling did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Rows that moved.
    pub moved: u64,
    /// Runtimes without a living row that were removed.
    pub orphans_removed: u64,
    /// Rows and runtimes that are not as they should be yet.
    pub unsettled: u64,
}

impl Reconciled {
    fn add(mut self, one: &Result<Self, Failure>) -> Self {
        match one {
            Ok(one) => {
                self.moved += one.moved;
                self.orphans_removed += one.orphans_removed;
                self.unsettled += one.unsettled;
            }
            Err(failure) => {
                tracing::warn!(error = %failure, causes = failure.causes(), "not reconciled");
                self.unsettled += 1;
            }
        }
        self
    }
}

impl Plane {
    /// Makes rows and runtimes agree as far as the providers let it. Fails only when the store
    /// does.
    pub(crate) async fn reconcile(self: &Arc<Self>) -> Result<Reconciled, Failure> {
        let rows = self.store.live().await?;
        let rows = stream::iter(rows)
            .map(|row| async move { self.check(&row).await })
            .buffer_unordered(PARALLEL)
            .fold(Reconciled::default(), async |sum, one| sum.add(&one))
            .await;
        let mut sum = rows;
        for (_, provider) in self.providers.iter() {
            sum = sum.add(&self.remove_orphans(provider).await);
        }
        self.resume_execs().await?;
        Ok(sum)
    }

    /// Makes one row true.
    pub(crate) async fn check(self: &Arc<Self>, row: &Sandbox) -> Result<Reconciled, Failure> {
        if self.drives.has(&row.id) {
            return Ok(Reconciled::default());
        }
        match row.phase {
            Phase::Pending => self.tell(row, Input::Stop(EndReason::Failed), None).await,
            Phase::Starting => self.interrupted(row).await,
            Phase::Running | Phase::Lost => self.look(row).await,
            Phase::Stopping(_) => self.finish(row).await,
            Phase::Gone(_) => Ok(Reconciled::default()),
        }
    }

    /// A create that nobody is working on: it was cut off, and what there is of it goes.
    async fn interrupted(self: &Arc<Self>, row: &Sandbox) -> Result<Reconciled, Failure> {
        // A drive may have ended since the row was read, and have moved it.
        let row = self.row(&row.id).await?;
        if row.phase != Phase::Starting || self.drives.has(&row.id) {
            return Ok(Reconciled::default());
        }
        let why = if row.created_at < self.started_at {
            "interrupted by a restart of the server"
        } else {
            "interrupted by an outage of the server's storage"
        };
        let failure = Failure::new(Reason::CreateFailed, why);
        self.tell(&row, Input::CreateFailed, Some(&failure)).await
    }

    /// Asks the provider about a sandbox that should run.
    async fn look(self: &Arc<Self>, row: &Sandbox) -> Result<Reconciled, Failure> {
        let status = match self.providers.get(&row.provider) {
            Ok(provider) => provider.inspect(&row.name()).await,
            Err(failure) => Err(failure),
        };
        let input = match status {
            Ok(RuntimeStatus::Running) => Input::SeenRunning,
            Ok(RuntimeStatus::Absent) => Input::NotFound,
            Ok(RuntimeStatus::Broken) => Input::Stop(EndReason::Vanished),
            Err(_) => Input::Unreachable,
        };
        self.tell(row, input, None).await
    }

    /// Feeds a report, notes that it changed something, and finishes what it began.
    async fn tell(
        self: &Arc<Self>,
        row: &Sandbox,
        input: Input,
        failure: Option<&Failure>,
    ) -> Result<Reconciled, Failure> {
        let caller = Caller::default();
        let news = News { failure, ..News::new(input, &caller) };
        let fed = self.feed(&row.id, None, &news).await?;
        if !fed.changed {
            return Ok(Reconciled::default());
        }
        let data = facts([
            ("action", "row_moved".to_owned()),
            ("from", row.phase.name().to_owned()),
            ("to", fed.row.phase.name().to_owned()),
        ]);
        self.journal.write(chronicle::reconciled(&row.id, data, self.clock.now())).await?;
        let moved = Reconciled { moved: 1, ..Reconciled::default() };
        match fed.row.phase {
            Phase::Stopping(_) => Ok(moved.add(&self.finish(&fed.row).await)),
            Phase::Lost => Ok(Reconciled { unsettled: 1, ..moved }),
            Phase::Pending | Phase::Starting | Phase::Running | Phase::Gone(_) => Ok(moved),
        }
    }

    /// Goes on with the end of a sandbox.
    async fn finish(self: &Arc<Self>, row: &Sandbox) -> Result<Reconciled, Failure> {
        self.settle(&row.id)?.wait().await.over()?;
        Ok(Reconciled { moved: 1, ..Reconciled::default() })
    }

    /// Removes the runtimes of a provider that no living row stands for. The list is read before
    /// the rows, and a row is stored before its runtime is made, so a new one is never taken for
    /// an orphan.
    async fn remove_orphans(
        self: &Arc<Self>,
        provider: &Arc<dyn Provider>,
    ) -> Result<Reconciled, Failure> {
        let entries = provider.list().await?;
        let sum = stream::iter(entries)
            .map(|entry| async move { self.judge(provider.name(), &entry).await })
            .buffer_unordered(PARALLEL)
            .fold(Reconciled::default(), async |sum, one| sum.add(&one))
            .await;
        Ok(sum)
    }

    async fn judge(&self, provider: &str, entry: &RuntimeEntry) -> Result<Reconciled, Failure> {
        let id = &entry.name.id;
        if self.drives.has(id) {
            return Ok(Reconciled::default());
        }
        let row = self.store.get(id).await?;
        let stands = row.is_some_and(|row| {
            row.provider == provider && row.name() == entry.name && row.phase.may_hold_runtime()
        });
        if stands || self.drives.has(id) {
            return Ok(Reconciled::default());
        }
        self.erase(provider, &entry.name).await?;
        let data = facts([
            ("action", "orphan_removed".to_owned()),
            ("runtime", entry.name.to_string()),
            ("provider", provider.to_owned()),
        ]);
        self.journal.write(chronicle::reconciled(id, data, self.clock.now())).await?;
        Ok(Reconciled { orphans_removed: 1, ..Reconciled::default() })
    }

    /// Reconciles until the engine shuts down.
    pub(crate) async fn reconcile_forever(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(self.options.reconcile_interval) => {}
            }
            if let Err(failure) = self.reconcile().await {
                tracing::warn!(error = %failure, causes = failure.causes(), "not reconciled");
            }
            if let Err(failure) = self.forget_the_past().await {
                tracing::warn!(error = %failure, causes = failure.causes(), "nothing forgotten");
            }
        }
    }

    /// Deletes rows and events that have been kept long enough.
    async fn forget_the_past(&self) -> Result<(), Failure> {
        let now = self.clock.now().as_micros();
        let kept = i64::try_from(self.options.retention.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(now.saturating_sub(kept));
        self.store.purge(before).await.map(drop)
    }
}
