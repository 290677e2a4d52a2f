//! Ends what is due: sandboxes whose time is over, and destroys that failed and are tried again.
//!
//! The reaper sleeps until the earliest of them and is woken when something may be due earlier.
//! It is a task of the engine; nobody calls it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::{EndReason, Failure, Input, SandboxId, Timestamp};

use crate::drive::Ticket;
use crate::feed::News;
use crate::plane::{Plane, locked};
use crate::request::Caller;

/// How long after a first failed destroy it is tried again; each further failure doubles it.
const RETRY_FIRST: Duration = Duration::from_millis(500);

/// The longest wait between two tries.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// How long the reaper sleeps at most, so that a stepped clock delays nothing for longer.
const SLEEP_MAX: Duration = Duration::from_secs(10);

/// How long it waits after the store has failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Destroys that failed, and when each is tried again.
#[derive(Debug, Default)]
pub(crate) struct Retries(HashMap<SandboxId, Retry>);

#[derive(Debug)]
struct Retry {
    failures: u32,
    at: Timestamp,
}

impl Retries {
    /// A destroy has failed.
    pub(crate) fn failed(&mut self, id: &SandboxId, now: Timestamp) {
        let retry = self.0.entry(id.clone()).or_insert(Retry { failures: 0, at: now });
        let wait = RETRY_FIRST.saturating_mul(1 << retry.failures.min(16)).min(RETRY_MAX);
        retry.failures = retry.failures.saturating_add(1);
        retry.at = now.after(wait);
    }

    /// The sandbox is gone.
    pub(crate) fn forget(&mut self, id: &SandboxId) {
        self.0.remove(id);
    }

    fn next(&self) -> Option<Timestamp> {
        self.0.values().map(|retry| retry.at).min()
    }

    fn due(&mut self, now: Timestamp) -> Vec<SandboxId> {
        let mut due = Vec::new();
        for (id, retry) in &mut self.0 {
            if retry.at <= now {
                // Not due again before the drive has had time to answer.
                retry.at = now.after(RETRY_MAX);
                due.push(id.clone());
            }
        }
        due
    }
}

impl Plane {
    /// Runs until the engine shuts down.
    pub(crate) async fn reap_forever(self: Arc<Self>) {
        while !self.stop.is_cancelled() {
            let pause = match self.reap().await {
                Ok(Some(next)) => next.since(self.clock.now()).min(SLEEP_MAX),
                Ok(None) => SLEEP_MAX,
                Err(failure) => {
                    tracing::warn!(error = %failure, causes = failure.causes(), "not reaped");
                    STORE_PAUSE
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = self.due.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Begins to end everything that is due, and says when the next thing is.
    pub(crate) async fn reap(self: &Arc<Self>) -> Result<Option<Timestamp>, Failure> {
        // Nobody waits for these ends: one that fails is tried again.
        drop(self.expire().await?);
        for id in locked(&self.retries).due(self.clock.now()) {
            // Whoever waits for the sandbox's end waits for this drive.
            drop(self.settle(&id)?);
        }
        let expiry = self.store.next_expiry().await?;
        Ok(expiry.into_iter().chain(locked(&self.retries).next()).min())
    }

    /// Begins to end every sandbox whose time is over, and returns how to wait for each end.
    pub(crate) async fn expire(self: &Arc<Self>) -> Result<Vec<Ticket>, Failure> {
        let caller = Caller::default();
        let now = self.clock.now();
        let mut ends = Vec::new();
        for row in self.store.expired(now).await? {
            let id = row.id.clone();
            let stop = News::new(Input::Stop(EndReason::Expired), &caller);
            // An extension may come in between, and wins.
            let stop = News { expired_at: Some(now), ..stop };
            if self.feed(&id, Some(row), &stop).await?.changed {
                ends.push(self.settle(&id)?);
            }
        }
        Ok(ends)
    }

    /// Ends every sandbox whose time is over; how many are gone.
    pub(crate) async fn prune(self: &Arc<Self>) -> Result<u64, Failure> {
        let mut gone = 0;
        for end in self.expire().await? {
            gone += u64::from(end.wait().await.over().is_ok());
        }
        Ok(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_that_keeps_failing_is_tried_ever_less_often() {
        let id: SandboxId = "sb-aaaaaaaaaaaaaaaaaaaa".parse().unwrap();
        let (mut retries, now) = (Retries::default(), Timestamp::default());
        let mut waits = Vec::new();
        for _ in 0..8 {
            retries.failed(&id, now);
            waits.push(retries.next().unwrap().since(now).as_millis());
        }
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert!(retries.due(now).is_empty());
        assert_eq!(retries.due(now.after(RETRY_MAX)), std::slice::from_ref(&id));
        retries.forget(&id);
        assert_eq!(retries.next(), None);
    }
}
