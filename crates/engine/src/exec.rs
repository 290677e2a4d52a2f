//! Running a program in a sandbox, up to the point where it runs. [`crate::follow`] takes over
//! from there, and [`crate::execs`] has what is done to programs that run.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use model::{
    EventKind, ExecId, ExecRecord, ExecResult, ExecSpec, Failure, Outcome, Output, Reason, Sandbox,
    SandboxId, StartFailure,
};
use provider::{ExecEvent, ExecSession, Guest, Offsets};
use store::{AuditEntry, Inserted};
use tokio::sync::{mpsc, oneshot};

use crate::chronicle::{self, facts};
use crate::follow::Follower;
use crate::guests::is_lost;
use crate::limits;
use crate::plane::{Plane, locked};
use crate::refuse::shutting_down;
use crate::request::{Caller, IdempotencyKey, NewExec};
use crate::validate;

/// Pieces of output between the agent and a slow caller; more are not taken from the agent.
const PIECES: usize = 16;

/// A program that runs. Dropping it ends the program if that was asked for, else only the
/// following.
pub struct RunningExec {
    /// Its id.
    pub id: ExecId,
    /// Output as it comes, then exactly one [`ExecEvent::Exit`]; or a failure, after which there
    /// is nothing more and the program may still run.
    pub events: BoxStream<'static, Result<ExecEvent, Failure>>,
}

impl fmt::Debug for RunningExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningExec").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A program that is to be started, and everything its start and its end need to know.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) row: Sandbox,
    pub(crate) spec: ExecSpec,
    pub(crate) caller: Caller,
    /// The program without its contents, for the audit trail. Absent after a restart.
    pub(crate) digest: Option<String>,
    /// What it reads first and only.
    pub(crate) input: Option<Bytes>,
    /// The caller's key for the request that starts it.
    pub(crate) key: Option<IdempotencyKey>,
}

impl Run {
    /// Whether the program may outlive the call that started it, so that it has a row and its
    /// output is kept after its end.
    pub(crate) fn is_kept(&self) -> bool {
        !self.spec.kill_on_disconnect
    }
}

/// What became of a start.
enum Begun {
    Started(Arc<dyn Guest>, ExecSession),
    /// The caller's key had started this one before.
    Before(ExecId),
}

impl Plane {
    /// Starts a program. Starting and following are a task of the engine: a caller that goes
    /// away in between leaves nothing unattended.
    pub(crate) async fn exec(
        self: &Arc<Self>,
        caller: &Caller,
        id: &SandboxId,
        new: NewExec,
    ) -> Result<RunningExec, Failure> {
        let run = self.run(caller, id, NewExec { idempotency_key: None, ..new }).await?;
        let exec_id = run.spec.id.clone();
        let (pieces, receiver) = mpsc::channel(PIECES);
        self.begin_attended(run, pieces).await?;
        let events = stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|event| (event, receiver))
        });
        Ok(RunningExec { id: exec_id, events: events.boxed() })
    }

    /// Starts a program that nobody follows, and returns once it runs. A start under a key that
    /// was used before starts nothing.
    pub(crate) async fn exec_background(
        self: &Arc<Self>,
        caller: &Caller,
        id: &SandboxId,
        new: NewExec,
    ) -> Result<ExecRecord, Failure> {
        let new = NewExec { kill_on_disconnect: false, ..new };
        let mut run = self.run(caller, id, new).await?;
        run.spec.detached = true;
        let exec_id = run.spec.id.clone();
        // Dropped at once: a detached program has no output to be passed on.
        let (pieces, _) = mpsc::channel(1);
        let exec_id = self.begin_attended(run, pieces).await?.unwrap_or(exec_id);
        self.kept_exec(id, &exec_id).await
    }

    async fn run(
        self: &Arc<Self>,
        caller: &Caller,
        id: &SandboxId,
        mut new: NewExec,
    ) -> Result<Run, Failure> {
        let exec_id = ExecId::random(&mut rand::rng());
        let digest = Some(chronicle::program_digest(&new.program));
        let (input, key) = (new.input.take(), new.idempotency_key.take());
        new.stdin |= input.is_some();
        let spec = validate::exec(&self.options, exec_id, new)?;
        let row = self.at_work(id).await?;
        Ok(Run { row, spec, caller: caller.clone(), digest, input, key })
    }

    /// Starts the program in a task that follows it to its end; returns once it runs, with the id
    /// of the exec that the same request had started before.
    async fn begin_attended(
        self: &Arc<Self>,
        run: Run,
        pieces: mpsc::Sender<Result<ExecEvent, Failure>>,
    ) -> Result<Option<ExecId>, Failure> {
        let (begun, answer) = oneshot::channel();
        self.tasks.spawn(attend(self.clone(), run, begun, pieces))?;
        answer.await.map_err(|_| shutting_down())?
    }

    /// Runs a program to its end and keeps its output, within the limit for each stream.
    pub(crate) async fn exec_collect(
        self: &Arc<Self>,
        caller: &Caller,
        id: &SandboxId,
        new: NewExec,
    ) -> Result<ExecResult, Failure> {
        let mut running = self.exec(caller, id, new).await?;
        let mut stdout = Output::with_limit(self.options.output_limit);
        let mut stderr = Output::with_limit(self.options.output_limit);
        while let Some(event) = running.events.next().await {
            match event? {
                ExecEvent::Stdout(bytes) => stdout.push(&bytes),
                ExecEvent::Stderr(bytes) => stderr.push(&bytes),
                ExecEvent::Exit(exit) => {
                    if let Some(failure) = callers_mistake(&exit.outcome) {
                        return Err(failure);
                    }
                    return Ok(ExecResult {
                        id: running.id,
                        outcome: exit.outcome,
                        stdout,
                        stderr,
                        duration: exit.duration,
                        usage: exit.usage,
                    });
                }
            }
        }
        Err(Failure::internal("an exec ended without an exit"))
    }

    /// Writes down that a program starts, and then starts it: what cannot be written down does
    /// not happen. Writing and connecting wait for the slower of the two only.
    async fn begin(self: &Arc<Self>, run: &Run) -> Result<Begun, Failure> {
        let (noted, guest) = tokio::join!(self.note_start(run), self.guest(&run.row));
        if let Some(before) = noted? {
            return Ok(Begun::Before(before));
        }
        let started = match guest {
            Ok(guest) => self.start(run, guest).await,
            Err(failure) => Err(failure),
        };
        match started {
            Ok((guest, session)) => Ok(Begun::Started(guest, session)),
            Err(failure) => {
                let message = failure.message.clone();
                let outcome = Outcome::StartFailed(StartFailure::Other, message);
                self.note_end(run, failure.reason.word(), &crate::follow::nothing(outcome)).await;
                Err(failure)
            }
        }
    }

    /// Writes a start down; the exec that the caller's key had started before, if any.
    async fn note_start(&self, run: &Run) -> Result<Option<ExecId>, Failure> {
        let record = self.note(run, None);
        if !run.is_kept() {
            return self.journal.write(record).await.map(|()| None);
        }
        let row = ExecRecord {
            id: run.spec.id.clone(),
            sandbox: run.row.id.clone(),
            background: run.spec.detached,
            tty: run.spec.tty.is_some(),
            owner: run.caller.owner.clone(),
            started_at: self.clock.now(),
            end: None,
        };
        let scope = || format!("exec {}", run.row.id);
        let key = run.key.as_ref().map(|key| key.within(&run.caller, &scope()));
        match self.store.insert_exec(&row, key.as_ref(), &record).await? {
            Inserted::New => Ok(None),
            Inserted::Before(id) => Ok(Some(id)),
        }
    }

    /// Starts the program. A connection that is lost meanwhile leaves open whether the agent has
    /// heard: the next one is asked before it is told again.
    async fn start(
        self: &Arc<Self>,
        run: &Run,
        guest: Arc<dyn Guest>,
    ) -> Result<(Arc<dyn Guest>, ExecSession), Failure> {
        match guest.exec(&run.spec).await {
            Ok(session) => Ok((guest, session)),
            Err(failure) if is_lost(&failure) => {
                locked(&self.guests).forget(&run.row.name());
                let guest = self.guest(&run.row).await?;
                let session = match guest.attach(&run.spec.id, Offsets::default()).await {
                    Err(failure) if failure.reason == Reason::ExecNotFound => {
                        guest.exec(&run.spec).await?
                    }
                    session => session?,
                };
                Ok((guest, session))
            }
            Err(failure) => Err(limits::of_execs(&self.options, failure)),
        }
    }

    /// What is written down about a program's start, or its end.
    pub(crate) fn note(
        &self,
        run: &Run,
        end: Option<(EventKind, &str, &Outcome)>,
    ) -> store::Record {
        let mut data = facts([("exec_id", run.spec.id.to_string())]);
        let (kind, word) = match end {
            None => (EventKind::ExecStarted, "started"),
            Some((kind, word, outcome)) => {
                data.insert("outcome".into(), word.into());
                data.insert("exit_code".into(), outcome.exit_code().to_string());
                (kind, word)
            }
        };
        let digest = run.digest.as_deref().unwrap_or("(started before a restart)");
        let entry = AuditEntry {
            detail: format!("{} {digest}", run.spec.id),
            ..chronicle::audit(&run.caller, "exec", word, self.clock.now())
        };
        chronicle::inside(&run.row.id, Some((kind, data)), entry)
    }
}

/// What the caller can mend about a program that never ran.
fn callers_mistake(outcome: &Outcome) -> Option<Failure> {
    let Outcome::StartFailed(failure, message) = outcome else { return None };
    let (reason, field) = match failure {
        StartFailure::BadWorkdir => (Reason::WorkdirInvalid, "workdir"),
        StartFailure::BadUser => (Reason::UserInvalid, "user"),
        StartFailure::NotFound
        | StartFailure::NotExecutable
        | StartFailure::Resources
        | StartFailure::Other => return None,
    };
    Some(Failure::new(reason, format!("invalid input: {message}")).detail("field", field))
}

/// Starts a program, tells its caller, and follows it to its end.
async fn attend(
    plane: Arc<Plane>,
    mut run: Run,
    begun: oneshot::Sender<Result<Option<ExecId>, Failure>>,
    pieces: mpsc::Sender<Result<ExecEvent, Failure>>,
) {
    let _followed = plane.followed.enter(&run.spec.id);
    match plane.begin(&run).await {
        Ok(Begun::Started(guest, session)) => {
            // If the caller has left, so has the receiver of the pieces, and the follower acts.
            let _ = begun.send(Ok(None));
            let input = run.input.take();
            let fed = feed(guest.clone(), run.spec.id.clone(), input);
            let follow = Follower::new(plane.clone(), run, guest, Some(pieces)).follow(session);
            tokio::join!(follow, fed);
        }
        Ok(Begun::Before(id)) => {
            let _ = begun.send(Ok(Some(id)));
        }
        Err(failure) => {
            let _ = begun.send(Err(failure));
        }
    }
}

/// Gives the program what it reads. A program that ends before it has read all has had enough.
async fn feed(guest: Arc<dyn Guest>, id: ExecId, input: Option<Bytes>) {
    if let Some(input) = input {
        let body = stream::iter([Ok(input)]).boxed();
        if let Err(failure) = guest.send_stdin(&id, body, true).await {
            tracing::debug!(exec = %id, error = %failure, "the input was not read to its end");
        }
    }
}
