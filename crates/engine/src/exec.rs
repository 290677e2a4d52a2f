//! Running a program in a sandbox, up to the point where it runs. [`crate::follow`] takes over
//! from there.

use std::fmt;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use model::{
    EventKind, ExecId, ExecResult, ExecSpec, Failure, Outcome, Output, Reason, Sandbox, SandboxId,
    StartFailure,
};
use provider::{ExecEvent, ExecSession, Guest, Offsets};
use store::AuditEntry;
use tokio::sync::{mpsc, oneshot};

use crate::chronicle::{self, facts};
use crate::follow::Follower;
use crate::guests::is_lost;
use crate::limits;
use crate::plane::{Plane, locked};
use crate::refuse::shutting_down;
use crate::request::{Caller, NewExec};
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
    /// The program without its contents, for the audit trail.
    pub(crate) digest: String,
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
        let exec_id = ExecId::random(&mut rand::rng());
        let digest = chronicle::program_digest(&new.program);
        let spec = validate::exec(&self.options, exec_id.clone(), new)?;
        let row = self.at_work(id).await?;
        let run = Run { row, spec, caller: caller.clone(), digest };
        let (begun, answer) = oneshot::channel();
        let (pieces, receiver) = mpsc::channel(PIECES);
        self.tasks.spawn(attend(self.clone(), run, begun, pieces))?;
        answer.await.map_err(|_| shutting_down())??;
        let events = futures::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|event| (event, receiver))
        });
        Ok(RunningExec { id: exec_id, events: events.boxed() })
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
    async fn begin(self: &Arc<Self>, run: &Run) -> Result<(Arc<dyn Guest>, ExecSession), Failure> {
        let noted = self.journal.write(self.note(run, None));
        let (noted, guest) = tokio::join!(noted, self.guest(&run.row));
        noted?;
        let started = match guest {
            Ok(guest) => self.start(run, guest).await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = &started {
            let end = Some((EventKind::ExecFailed, failure.reason.word(), None));
            if let Err(error) = self.journal.write(self.note(run, end)).await {
                tracing::warn!(exec = %run.spec.id, %error, "an end was not written down");
            }
        }
        started
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
        end: Option<(EventKind, &str, Option<&Outcome>)>,
    ) -> store::Record {
        let mut data = facts([("exec_id", run.spec.id.to_string())]);
        let (kind, word) = match end {
            None => (EventKind::ExecStarted, "started"),
            Some((kind, word, outcome)) => {
                data.insert("outcome".into(), word.into());
                if let Some(outcome) = outcome {
                    data.insert("exit_code".into(), outcome.exit_code().to_string());
                }
                (kind, word)
            }
        };
        let entry = AuditEntry {
            detail: format!("{} {}", run.spec.id, run.digest),
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
    run: Run,
    begun: oneshot::Sender<Result<(), Failure>>,
    pieces: mpsc::Sender<Result<ExecEvent, Failure>>,
) {
    match plane.begin(&run).await {
        Ok((guest, session)) => {
            // If the caller has left, so has the receiver of the pieces, and the follower acts.
            let _ = begun.send(Ok(()));
            Follower::new(plane, run, guest, pieces).follow(session).await;
        }
        Err(failure) => {
            let _ = begun.send(Err(failure));
        }
    }
}
