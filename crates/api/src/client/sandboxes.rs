//! Sandboxes through the client.

use reqwest::Method;

use crate::paths::IDEMPOTENCY_KEY;
use crate::sandbox::{
    Admission, ExtendRequest, PoolStatus, Pruned, QuotaSummary, Sandbox, SpawnRequest, Stats,
    Status,
};

use super::{Client, ClientError};

impl Client {
    /// Makes a sandbox; it runs when this returns.
    pub async fn spawn(&self, request: &SpawnRequest) -> Result<Sandbox, ClientError> {
        self.post(self.url(&["sandboxes"], &[]), request).await
    }

    /// Makes a sandbox, once under the same `key`, however often this is called; it runs when this
    /// returns.
    pub async fn spawn_once(
        &self,
        request: &SpawnRequest,
        key: &str,
    ) -> Result<Sandbox, ClientError> {
        let post = self.request(Method::POST, self.url(&["sandboxes"], &[]));
        self.answer(post.header(IDEMPOTENCY_KEY, key).json(request)).await
    }

    /// Whether `request` would be allowed now.
    pub async fn admission(&self, request: &SpawnRequest) -> Result<Admission, ClientError> {
        self.post(self.url(&["sandboxes", "admission"], &[]), request).await
    }

    /// Every sandbox that is not destroyed, newest first.
    pub async fn list(&self) -> Result<Vec<Sandbox>, ClientError> {
        self.get(self.url(&["sandboxes"], &[])).await
    }

    /// One sandbox.
    pub async fn sandbox(&self, id: &str) -> Result<Sandbox, ClientError> {
        self.get(self.url(&["sandboxes", id], &[])).await
    }

    /// Destroys a sandbox; it is gone when this returns. Destroying it again succeeds.
    pub async fn destroy(&self, id: &str) -> Result<Status, ClientError> {
        self.delete(self.url(&["sandboxes", id], &[])).await
    }

    /// Begins to destroy a sandbox and does not wait for it.
    pub async fn destroy_soon(&self, id: &str) -> Result<Status, ClientError> {
        self.delete(self.url(&["sandboxes", id], &[("wait", "false")])).await
    }

    /// Destroys every sandbox that has expired.
    pub async fn prune(&self) -> Result<Pruned, ClientError> {
        self.delete(self.url(&["sandboxes"], &[])).await
    }

    /// Lets a sandbox live for `ttl` from now: `30m`.
    pub async fn extend(&self, id: &str, ttl: &str) -> Result<Sandbox, ClientError> {
        let request = ExtendRequest { ttl: Some(ttl.to_owned()) };
        self.post(self.url(&["sandboxes", id, "extend"], &[]), &request).await
    }

    /// The last `lines` lines of what programs in a sandbox printed, oldest first.
    pub async fn logs(&self, id: &str, lines: u32) -> Result<Vec<String>, ClientError> {
        let lines = lines.to_string();
        self.get(self.url(&["sandboxes", id, "logs"], &[("lines", &lines)])).await
    }

    /// What a sandbox uses now.
    pub async fn stats(&self, id: &str) -> Result<Stats, ClientError> {
        self.get(self.url(&["sandboxes", id, "stats"], &[])).await
    }

    /// The pool of shared machines.
    pub async fn pool_status(&self) -> Result<PoolStatus, ClientError> {
        self.get(self.url(&["pool", "status"], &[])).await
    }

    /// How many owners have limits of their own.
    pub async fn quota_summary(&self) -> Result<QuotaSummary, ClientError> {
        self.get(self.url(&["quotas", "summary"], &[])).await
    }
}
