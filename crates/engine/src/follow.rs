//! Follows a program to its end, whatever becomes of the connection to its agent and of its
//! caller. It takes from the agent only what its caller takes from it.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use model::{EventKind, ExecEnd, Failure, Outcome, Phase, Timestamp, Usage};
use provider::{ExecEvent, ExecExit, ExecSession, Guest, Offsets};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::exec::Run;
use crate::guests::is_lost;
use crate::plane::{Plane, locked};
use crate::refuse::shutting_down;

/// How often a lost connection is made again before the program is given up.
const TRIES: u32 = 6;

/// The wait before the second try; it doubles with each, so that all take about three seconds.
const TRY_WAIT: Duration = Duration::from_millis(50);

/// How much later than its timeout, grace and drain a program's end may be reported before the
/// agent is taken for one that lies.
const OVERDUE: Duration = Duration::from_secs(10);

type Pieces = mpsc::Sender<Result<ExecEvent, Failure>>;

/// Follows one program.
pub(crate) struct Follower {
    plane: Arc<Plane>,
    run: Run,
    guest: Arc<dyn Guest>,
    /// The caller; `None` once it has left.
    caller: Option<Pieces>,
    seen: Offsets,
    started: Instant,
    overdue: Option<Instant>,
}

/// What happened next.
enum Next {
    Event(ExecEvent),
    ConnectionLost,
    CallerLeft,
    Overdue,
    ShuttingDown,
}

impl Follower {
    pub(crate) fn new(
        plane: Arc<Plane>,
        run: Run,
        guest: Arc<dyn Guest>,
        caller: Option<Pieces>,
    ) -> Self {
        let started = Instant::now();
        let spec = &run.spec;
        let longest = |timeout: Duration| timeout + spec.grace + spec.drain + OVERDUE;
        let overdue = spec.timeout.and_then(|timeout| started.checked_add(longest(timeout)));
        // The output of a detached program is not passed on to anybody.
        let caller = caller.filter(|_| !run.spec.detached);
        Self { plane, run, guest, caller, seen: Offsets::default(), started, overdue }
    }

    pub(crate) async fn follow(mut self, mut session: ExecSession) {
        loop {
            match self.next(&mut session).await {
                Next::Event(ExecEvent::Exit(exit)) => return self.end(exit).await,
                Next::Event(output) => self.pass(output).await,
                Next::CallerLeft => {
                    if let Some(waiting) = self.abandon().await {
                        session = waiting;
                    }
                }
                Next::ConnectionLost => match self.resume().await {
                    Some(resumed) => session = resumed,
                    None => return self.lose().await,
                },
                Next::Overdue => {
                    let _ = self.guest.cancel(&self.run.spec.id).await;
                    return self.lose().await;
                }
                Next::ShuttingDown => {
                    if let Some(caller) = self.caller {
                        // The caller may have left as well.
                        let _ = caller.try_send(Err(shutting_down()));
                    }
                    return;
                }
            }
        }
    }

    async fn next(&self, session: &mut ExecSession) -> Next {
        let left = async {
            match &self.caller {
                Some(caller) => caller.closed().await,
                None => std::future::pending().await,
            }
        };
        let overdue = async {
            match self.overdue {
                Some(overdue) => tokio::time::sleep_until(overdue).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.plane.stop.cancelled() => Next::ShuttingDown,
            () = left => Next::CallerLeft,
            event = session.events.next() => match event {
                Some(Ok(event)) => Next::Event(event),
                Some(Err(_)) | None => Next::ConnectionLost,
            },
            () = overdue => Next::Overdue,
        }
    }

    /// Passes output on to the caller, as fast as it is taken.
    async fn pass(&mut self, output: ExecEvent) {
        match &output {
            ExecEvent::Stdout(bytes) => self.seen.stdout += bytes.len() as u64,
            ExecEvent::Stderr(bytes) => self.seen.stderr += bytes.len() as u64,
            ExecEvent::Exit(_) => {}
        }
        if let Some(caller) = &self.caller {
            // A caller that has left and an engine that stops are seen by the next step.
            tokio::select! {
                _ = caller.send(Ok(output)) => {}
                () = self.plane.stop.cancelled() => {}
            }
        }
    }

    /// Goes on without the caller: ends the program if that was asked for, else leaves its output
    /// to those who ask for it later, with a session that waits for its end alone.
    async fn abandon(&mut self) -> Option<ExecSession> {
        self.caller = None;
        // If the connection is lost it is made again, and this with it.
        if self.run.spec.kill_on_disconnect {
            let _ = self.guest.cancel(&self.run.spec.id).await;
            return None;
        }
        self.guest.wait(&self.run.spec.id).await.ok()
    }

    /// Follows the program over a new connection; `None` when it or its sandbox is gone.
    async fn resume(&mut self) -> Option<ExecSession> {
        let name = self.run.row.name();
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::select! {
                    () = self.plane.stop.cancelled() => return None,
                    () = tokio::time::sleep(TRY_WAIT * (1 << attempt)) => {}
                }
            }
            locked(&self.plane.guests).forget(&name);
            let row = self.plane.row(&self.run.row.id).await;
            if row.is_ok_and(|row| matches!(row.phase, Phase::Stopping(_) | Phase::Gone(_))) {
                return None;
            }
            match self.attach().await {
                Ok(session) => return Some(session),
                Err(failure) if is_lost(&failure) => {}
                Err(failure) => {
                    tracing::warn!(exec = %self.run.spec.id, error = %failure, "not resumed");
                    return None;
                }
            }
        }
        None
    }

    async fn attach(&mut self) -> Result<ExecSession, Failure> {
        self.guest = self.plane.guest(&self.run.row).await?;
        if self.caller.is_none() {
            if self.run.spec.kill_on_disconnect {
                let _ = self.guest.cancel(&self.run.spec.id).await;
            }
            return self.guest.wait(&self.run.spec.id).await;
        }
        let session = self.guest.attach(&self.run.spec.id, self.seen).await?;
        self.seen = session.start;
        Ok(session)
    }

    /// The program is out of reach for good.
    async fn lose(self) {
        if self.plane.stop.is_cancelled() {
            return;
        }
        let exit = ExecExit {
            duration: self.started.elapsed(),
            stdout_bytes: self.seen.stdout,
            stderr_bytes: self.seen.stderr,
            ..nothing(Outcome::SandboxLost)
        };
        self.end(exit).await;
    }

    /// Writes the end down, tells the caller, and lets the agent forget a program whose output
    /// nobody can ask for later.
    async fn end(self, exit: ExecExit) {
        self.plane.note_end(&self.run, exit.outcome.word(), &exit).await;
        let forget = !self.run.is_kept() && exit.outcome != Outcome::SandboxLost;
        if let Some(caller) = &self.caller {
            tokio::select! {
                _ = caller.send(Ok(ExecEvent::Exit(exit))) => {}
                () = self.plane.stop.cancelled() => {}
            }
        }
        if forget {
            // An agent that is out of reach keeps what it has until its sandbox ends.
            let _ = self.guest.release(&self.run.spec.id).await;
        }
    }
}

impl Plane {
    /// Writes the end of a program down, in a word that is the outcome's or says why it never
    /// began. What cannot be written down has happened all the same.
    pub(crate) async fn note_end(&self, run: &Run, word: &str, exit: &ExecExit) {
        let kind = match &exit.outcome {
            Outcome::Exited(_) | Outcome::Signaled(_) | Outcome::OomKilled | Outcome::Canceled => {
                EventKind::ExecCompleted
            }
            Outcome::TimedOut => EventKind::ExecTimeout,
            Outcome::SandboxLost | Outcome::StartFailed(..) => EventKind::ExecFailed,
        };
        let record = self.note(run, Some((kind, word, &exit.outcome)));
        let written = if run.is_kept() {
            let end = end_at(self.clock.now(), exit.clone());
            self.store.end_exec(&run.spec.id, &end, &record).await.map(drop)
        } else {
            self.journal.write(record).await
        };
        if let Err(failure) = written {
            let exec = &run.spec.id;
            tracing::warn!(%exec, error = %failure, "an end was not written down");
        }
    }
}

/// The end of a program as it is stored.
pub(crate) fn end_at(at: Timestamp, exit: ExecExit) -> ExecEnd {
    ExecEnd {
        at,
        outcome: exit.outcome,
        duration: exit.duration,
        stdout_bytes: exit.stdout_bytes,
        stderr_bytes: exit.stderr_bytes,
        usage: exit.usage,
    }
}

/// The end of a program of which nothing else is known.
pub(crate) fn nothing(outcome: Outcome) -> ExecExit {
    ExecExit {
        outcome,
        duration: Duration::ZERO,
        stdout_bytes: 0,
        stderr_bytes: 0,
        usage: Usage::default(),
    }
}
