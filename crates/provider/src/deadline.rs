//! A layer that gives every call of a provider a deadline, so that a runtime which hangs is an
//! error and not a stuck control plane. Put on once, when the engine starts.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::{Failure, Limit, SandboxName, Stats, format_duration};

use crate::contract::{
    Capability, Provider, RuntimeEntry, RuntimeHandle, RuntimeSpec, RuntimeStatus,
};
use crate::guest::Guest;

/// How long each call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Making a runtime, its image included.
    pub create: Duration,
    /// Removing one.
    pub destroy: Duration,
    /// Looking, listing, connecting, probing and measuring.
    pub query: Duration,
}

impl Default for Deadlines {
    /// A minute for what changes something, ten seconds for what only looks.
    fn default() -> Self {
        Self {
            create: Duration::from_mins(1),
            destroy: Duration::from_mins(1),
            query: Duration::from_secs(10),
        }
    }
}

/// A provider whose calls end in time. A call over its deadline is canceled as the contract
/// allows, and fails with [`ProviderUnavailable`](model::Reason::ProviderUnavailable).
pub struct DeadlineLayer {
    inner: Arc<dyn Provider>,
    deadlines: Deadlines,
}

impl DeadlineLayer {
    /// Puts deadlines on `inner`.
    pub fn new(inner: Arc<dyn Provider>, deadlines: Deadlines) -> Self {
        Self { inner, deadlines }
    }
}

async fn within<T>(
    (limit, max): (Limit, Duration),
    call: impl Future<Output = Result<T, Failure>> + Send,
) -> Result<T, Failure> {
    tokio::time::timeout(max, call).await.unwrap_or_else(|_| {
        let max = format_duration(max);
        let message = format!("provider did not answer within {max}");
        Err(Failure::over_limit(limit, max, message))
    })
}

#[async_trait]
impl Provider for DeadlineLayer {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> &[Capability] {
        self.inner.capabilities()
    }

    fn facts(&self) -> Vec<(String, String)> {
        self.inner.facts()
    }

    async fn probe(&self) -> Result<(), Failure> {
        within((Limit::QueryTimeout, self.deadlines.query), self.inner.probe()).await
    }

    async fn create(
        &self,
        name: &SandboxName,
        spec: &RuntimeSpec,
    ) -> Result<RuntimeHandle, Failure> {
        within((Limit::CreateTimeout, self.deadlines.create), self.inner.create(name, spec)).await
    }

    async fn inspect(&self, name: &SandboxName) -> Result<RuntimeStatus, Failure> {
        within((Limit::QueryTimeout, self.deadlines.query), self.inner.inspect(name)).await
    }

    async fn list(&self) -> Result<Vec<RuntimeEntry>, Failure> {
        within((Limit::QueryTimeout, self.deadlines.query), self.inner.list()).await
    }

    async fn destroy(&self, name: &SandboxName) -> Result<(), Failure> {
        within((Limit::DestroyTimeout, self.deadlines.destroy), self.inner.destroy(name)).await
    }

    async fn connect(
        &self,
        name: &SandboxName,
        handle: &RuntimeHandle,
    ) -> Result<Arc<dyn Guest>, Failure> {
        within((Limit::QueryTimeout, self.deadlines.query), self.inner.connect(name, handle)).await
    }

    async fn usage(&self, name: &SandboxName) -> Result<Stats, Failure> {
        within((Limit::QueryTimeout, self.deadlines.query), self.inner.usage(name)).await
    }

    async fn close(&self) {
        // What a provider cannot close in time is left to the end of the process.
        let _ = tokio::time::timeout(self.deadlines.destroy, self.inner.close()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_over_its_deadline_says_how_long_it_was_waited_for() {
        let limit = (Limit::CreateTimeout, Duration::from_mins(1));
        let failure = within(limit, std::future::pending::<Result<(), Failure>>()).await;
        let failure = failure.unwrap_err();
        assert_eq!(failure.reason, model::Reason::ProviderUnavailable);
        assert_eq!(failure.message, "provider did not answer within 1m0s");
        assert_eq!(failure.details["limit"], "limits.create_timeout".into());
        assert_eq!(failure.details["max"], "1m0s".into());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_in_time_answers_as_it_would_alone() {
        let answer = within((Limit::QueryTimeout, Duration::from_secs(1)), async { Ok(7) }).await;
        assert_eq!(answer.unwrap(), 7);
    }
}
