//! The one place that moves a row from phase to phase: asks [`model::Phase::step`], stores its
//! answer if nobody was faster, and says what is to be done.

use model::{Effect, Failure, Input, Reason, Sandbox, SandboxId, Step, Timestamp};
use provider::RuntimeHandle;
use store::TransitionError;

use crate::chronicle;
use crate::plane::{Plane, locked};
use crate::request::Caller;

/// A wish or a report about a sandbox, and what is known besides.
#[derive(Debug)]
pub(crate) struct News<'a> {
    pub(crate) input: Input,
    pub(crate) caller: &'a Caller,
    pub(crate) handle: Option<RuntimeHandle>,
    pub(crate) failure: Option<&'a Failure>,
    /// The news is void if the sandbox has been given time beyond this moment.
    pub(crate) expired_at: Option<Timestamp>,
}

impl<'a> News<'a> {
    pub(crate) fn new(input: Input, caller: &'a Caller) -> Self {
        Self { input, caller, handle: None, failure: None, expired_at: None }
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Fed {
    /// The row as it is now.
    pub(crate) row: Sandbox,
    /// What is to be done.
    pub(crate) effect: Effect,
    /// Whether the row has changed.
    pub(crate) changed: bool,
}

impl Plane {
    /// Feeds `news` to the sandbox `id`. `seen` is its row if the caller has just read it.
    pub(crate) async fn feed(
        &self,
        id: &SandboxId,
        mut seen: Option<Sandbox>,
        news: &News<'_>,
    ) -> Result<Fed, Failure> {
        loop {
            let row = match seen.take() {
                Some(row) => row,
                None => self.row(id).await?,
            };
            if news.expired_at.is_some_and(|moment| row.expires_at > moment) {
                return Ok(Fed { row, effect: Effect::None, changed: false });
            }
            let (next, effect) = match row.phase.step(news.input) {
                Step::Go { next, effect } => (next, effect),
                Step::Ignore => return Ok(Fed { row, effect: Effect::None, changed: false }),
                Step::Denied(why) => {
                    let message = format!("{why}: {id}");
                    return Err(Failure::new(Reason::SandboxNotRunning, message));
                }
            };
            if next == row.phase {
                return Ok(Fed { row, effect, changed: false });
            }
            let mut after = Sandbox { phase: next, updated_at: self.clock.now(), ..row.clone() };
            if let Some(RuntimeHandle(handle)) = &news.handle {
                after.handle = Some(handle.clone());
            }
            if let Some(failure) = news.failure {
                after.failure = Some((failure.reason, failure.message.clone()));
            }
            let record = chronicle::moved(row.phase, &after, news.caller);
            match self.store.transition(&row, after, &record).await {
                Ok(row) => {
                    self.entered(&row);
                    return Ok(Fed { row, effect, changed: true });
                }
                Err(TransitionError::Conflict) => {}
                Err(TransitionError::Failed(failure)) => return Err(failure),
            }
        }
    }

    /// Lets go of what was kept about a sandbox for speed.
    fn entered(&self, row: &Sandbox) {
        tracing::info!(sandbox = %row.id, state = row.phase.wire_state(), "sandbox moved");
        if !row.phase.takes_work() {
            locked(&self.guests).forget(&row.name());
        }
        if row.phase.is_terminal() {
            locked(&self.retries).forget(&row.id);
            locked(&self.samples).remove(&row.id);
        }
    }
}
