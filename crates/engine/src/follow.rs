//! Following a program to its end, across lost connections.
//!
//! The agent keeps output by offset, so a new connection goes on at the byte where the old one
//! stopped. When the sandbox itself is gone, the exec ends as `sandbox_lost`.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use model::{ExecId, Failure, Outcome, Sandbox, Usage};
use provider::{ExecEvent, ExecExit, ExecSession, Guest, Offsets};

use crate::exec::Chronicler;
use crate::guests::is_lost;
use crate::plane::Plane;

/// How often a lost connection is made again before the exec is given up.
const TRIES: u32 = 5;

/// The wait before the second try; each further one doubles it. Five tries take three seconds.
const PAUSE: Duration = Duration::from_millis(200);

/// One exec that is being followed.
pub(crate) struct Follow {
    plane: Arc<Plane>,
    row: Sandbox,
    chronicler: Chronicler,
    guest: Arc<dyn Guest>,
    session: ExecSession,
    seen: Offsets,
    kill_on_drop: bool,
    over: bool,
}

impl Follow {
    pub(crate) fn new(
        plane: Arc<Plane>,
        row: Sandbox,
        chronicler: Chronicler,
        (guest, session): (Arc<dyn Guest>, ExecSession),
        kill_on_drop: bool,
    ) -> Self {
        let seen = Offsets::default();
        Self { plane, row, chronicler, guest, session, seen, kill_on_drop, over: false }
    }

    /// What the program does, up to its exit or the first failure.
    pub(crate) fn events(self) -> impl Stream<Item = Result<ExecEvent, Failure>> + Send {
        stream::unfold(self, |mut follow| async move {
            if follow.over {
                return None;
            }
            let event = follow.next().await;
            Some((event, follow))
        })
    }

    async fn next(&mut self) -> Result<ExecEvent, Failure> {
        loop {
            match self.session.events.next().await {
                Some(Ok(ExecEvent::Stdout(bytes))) => {
                    self.seen.stdout += bytes.len() as u64;
                    return Ok(ExecEvent::Stdout(bytes));
                }
                Some(Ok(ExecEvent::Stderr(bytes))) => {
                    self.seen.stderr += bytes.len() as u64;
                    return Ok(ExecEvent::Stderr(bytes));
                }
                Some(Ok(ExecEvent::Exit(exit))) => return self.finish(exit).await,
                Some(Err(failure)) if is_lost(&failure) => {
                    if !self.attach_again().await? {
                        return self.finish(self.lost()).await;
                    }
                }
                Some(Err(failure)) => {
                    self.over = true;
                    return Err(failure);
                }
                None => {
                    self.over = true;
                    return Err(Failure::internal("an exec's events ended without an exit"));
                }
            }
        }
    }

    /// Connects again and goes on where the output stopped. False when there is nothing to
    /// connect to any more.
    async fn attach_again(&mut self) -> Result<bool, Failure> {
        let mut pause = PAUSE;
        for _ in 0..TRIES {
            self.plane.check(&self.row).await?;
            let row = self.plane.row(&self.row.id).await?;
            if row.name() != self.row.name() || row.phase.end_reason().is_some() {
                return Ok(false);
            }
            if let Ok(guest) = self.plane.guest(&row).await
                && let Ok(session) = guest.attach(&self.chronicler.exec, self.seen).await
            {
                self.seen = session.start;
                (self.guest, self.session) = (guest, session);
                return Ok(true);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Ok(false)
    }

    fn lost(&self) -> ExecExit {
        ExecExit {
            outcome: Outcome::SandboxLost,
            duration: self.plane.clock.now().since(self.row.updated_at),
            stdout_bytes: self.seen.stdout,
            stderr_bytes: self.seen.stderr,
            usage: Usage::default(),
        }
    }

    /// Writes the end down, and then tells of it.
    async fn finish(&mut self, exit: ExecExit) -> Result<ExecEvent, Failure> {
        self.over = true;
        let record = self.chronicler.ended(&self.plane, &exit);
        // The program has run and its result is the caller's, also when it cannot be written down
        // any more; that it was started is in the audit trail.
        if let Err(failure) = self.plane.journal.write(record).await {
            let exec = &self.chronicler.exec;
            tracing::error!(%exec, error = %failure, causes = failure.causes(), "end not recorded");
        }
        if exit.outcome != Outcome::SandboxLost {
            let (guest, exec) = (Arc::clone(&self.guest), self.chronicler.exec.clone());
            // The agent forgets by itself what it was not told to forget.
            let _ = self.plane.tasks.spawn(async move { drop(guest.release(&exec).await) });
        }
        Ok(ExecEvent::Exit(exit))
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        if self.over || !self.kill_on_drop {
            return;
        }
        let (guest, exec) = (Arc::clone(&self.guest), self.chronicler.exec.clone());
        // When the engine is ending too, the agent ends the exec with the connection.
        let _ = self.plane.tasks.spawn(cancel(guest, exec));
    }
}

async fn cancel(guest: Arc<dyn Guest>, exec: ExecId) {
    if let Err(failure) = guest.cancel(&exec).await {
        tracing::warn!(%exec, error = %failure, "an abandoned exec may still run");
    }
}
