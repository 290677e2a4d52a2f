//! Wraps every operation that a caller asks for: refused once the engine shuts down, timed, and
//! with its request's id in whatever is logged on the way.

use std::time::Instant;

use model::{Failure, SandboxId};
use tracing::Instrument;

use crate::plane::Plane;
use crate::refuse::shutting_down;
use crate::request::Caller;

impl Plane {
    /// Does `work` as the operation `action`.
    pub(crate) async fn op<T>(
        &self,
        action: &'static str,
        caller: &Caller,
        sandbox: Option<&SandboxId>,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        if self.stop.is_cancelled() {
            return Err(shutting_down());
        }
        let span = tracing::info_span!(
            "op",
            action,
            request_id = caller.request_id.as_deref(),
            sandbox = sandbox.map(SandboxId::as_str),
        );
        let started = Instant::now();
        let result = work.instrument(span.clone()).await;
        let outcome = result.as_ref().err().map_or("ok", |failure| failure.reason.word());
        span.in_scope(|| tracing::debug!(outcome, elapsed = ?started.elapsed(), "done"));
        result
    }
}
