//! Compares rows with runtimes and makes both true. It takes no input and may run at any time:
//! at start, on a timer, after a failure.
//!
//! What is to be made or removed goes the way of every other drive. A row that a drive of this
//! process is busy with is left alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::{EndReason, Failure, Input, Phase, Reason, Sandbox, SandboxName};
use provider::{RuntimeEntry, RuntimeStatus};

use crate::chronicle;
use crate::feed::News;
use crate::plane::Plane;
use crate::request::Caller;

/// What reconciling has put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Rows whose phase was not true any more.
    pub rows: usize,
    /// Runtimes that belonged to no row.
    pub orphans: usize,
}

impl Plane {
    /// Runs until the engine shuts down.
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

    /// Makes rows and runtimes agree.
    pub(crate) async fn reconcile(self: &Arc<Self>) -> Result<Reconciled, Failure> {
        let mut done = Reconciled::default();
        let mut runtimes = HashMap::new();
        for (name, provider) in self.providers.iter() {
            // A provider that does not answer says nothing about its runtimes.
            match provider.list().await {
                Ok(entries) => {
                    runtimes.insert(name.clone(), entries);
                }
                Err(failure) => {
                    tracing::warn!(provider = %name, error = %failure, "runtimes not listed");
                }
            }
        }
        // Read after the runtimes: a runtime whose row is older than the list has one here.
        let rows = self.store.live().await?;
        for row in &rows {
            done.rows += usize::from(self.settle_row(row, runtimes.get(&row.provider)).await?);
        }
        let rows: BTreeMap<SandboxName, &Sandbox> =
            rows.iter().map(|row| (row.name(), row)).collect();
        for (provider, entries) in &runtimes {
            for entry in entries.iter().filter(|entry| !rows.contains_key(&entry.name)) {
                done.orphans += usize::from(self.remove_orphan(provider, entry).await?);
            }
        }
        Ok(done)
    }

    /// Feeds a row what is seen of its runtime. Whether it changed.
    async fn settle_row(
        self: &Arc<Self>,
        row: &Sandbox,
        entries: Option<&Vec<RuntimeEntry>>,
    ) -> Result<bool, Failure> {
        if self.drives.has(&row.id) {
            return Ok(false);
        }
        let seen = entries.map(|entries| {
            let entry = entries.iter().find(|entry| entry.name == row.name());
            entry.map_or(RuntimeStatus::Absent, |entry| entry.status)
        });
        let interrupted = Failure::new(
            Reason::CreateFailed,
            "sandbox could not be created: interrupted by a restart of the server",
        );
        let caller = Caller::default();
        let mut news = News::new(Input::Retry, &caller);
        match row.phase {
            Phase::Pending => news.input = Input::Stop(EndReason::Failed),
            Phase::Starting => news.input = Input::CreateFailed,
            Phase::Stopping(_) => return self.settle(&row.id).map(|_| false),
            Phase::Running | Phase::Lost => return self.observe(row, seen).await,
            Phase::Gone(_) => return Ok(false),
        }
        news.failure = Some(&interrupted);
        let fed = self.feed(&row.id, Some(row.clone()), &news).await?;
        drop(self.settle(&row.id)?);
        Ok(fed.changed)
    }

    /// Feeds a row that should run what is seen of its runtime. Whether it changed.
    async fn observe(
        self: &Arc<Self>,
        row: &Sandbox,
        seen: Option<RuntimeStatus>,
    ) -> Result<bool, Failure> {
        let caller = Caller::default();
        let (input, action) = match seen {
            Some(RuntimeStatus::Running) => (Input::SeenRunning, "found_again"),
            Some(RuntimeStatus::Broken) => (Input::Stop(EndReason::Vanished), "broken"),
            Some(RuntimeStatus::Absent) => (Input::NotFound, "vanished"),
            None => (Input::Unreachable, "unreachable"),
        };
        let fed = self.feed(&row.id, Some(row.clone()), &News::new(input, &caller)).await?;
        if fed.changed {
            self.note(&row.name(), &row.provider, action).await?;
        }
        if matches!(fed.row.phase, Phase::Stopping(_)) {
            drop(self.settle(&row.id)?);
        }
        Ok(fed.changed)
    }

    /// Looks at the runtime of a row that should run. Called when its agent did not answer.
    pub(crate) async fn check(self: &Arc<Self>, row: &Sandbox) -> Result<(), Failure> {
        if self.drives.has(&row.id) {
            return Ok(());
        }
        let provider = self.providers.get(&row.provider)?;
        let seen = provider.inspect(&row.name()).await.ok();
        self.observe(row, seen).await.map(drop)
    }

    /// Removes a runtime without a live row of its incarnation. Whether it was one.
    async fn remove_orphan(&self, provider: &str, entry: &RuntimeEntry) -> Result<bool, Failure> {
        // The row may have been made since the rows were read.
        let row = self.store.get(&entry.name.id).await?;
        let owned = row.is_some_and(|row| row.name() == entry.name && row.phase.may_hold_runtime());
        if owned || self.drives.has(&entry.name.id) {
            return Ok(false);
        }
        if let Err(failure) = self.erase(provider, &entry.name).await {
            tracing::warn!(runtime = %entry.name, error = %failure, "an orphan is still there");
            return Ok(false);
        }
        self.note(&entry.name, provider, "orphan_removed").await?;
        Ok(true)
    }

    async fn note(
        &self,
        name: &SandboxName,
        provider: &str,
        action: &'static str,
    ) -> Result<(), Failure> {
        let data = chronicle::facts([
            ("action", action.to_owned()),
            ("provider", provider.to_owned()),
            ("incarnation", name.incarnation.to_string()),
        ]);
        let record = chronicle::reconciled(&name.id, data, self.clock.now());
        self.journal.write(record).await
    }

    /// Deletes rows, events and audit records that have been kept long enough.
    async fn forget_the_past(&self) -> Result<(), Failure> {
        let now = self.clock.now().as_micros();
        let kept = i64::try_from(self.options.retention.as_micros()).unwrap_or(i64::MAX);
        let before = model::Timestamp::from_micros(now.saturating_sub(kept));
        self.store.purge(before).await.map(drop)
    }
}

