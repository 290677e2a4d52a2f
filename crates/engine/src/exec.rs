//! Running a program in a sandbox: checks, start, what is written down about it, and its answer
//! in one piece. How it is followed is in `follow`.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use model::{
    EventKind, ExecId, ExecResult, ExecSpec, Failure, Outcome, Output, Reason, SandboxId,
    StartFailure,
};
use provider::{ExecEvent, ExecExit, ExecSession, Guest};
use store::{AuditEntry, Record};
use tokio::io::AsyncWrite;

use crate::chronicle::{self, facts};
use crate::follow::Follow;
use crate::guests::is_lost;
use crate::plane::Plane;
use crate::request::{Caller, NewExec};
use crate::validate;

/// A program that runs. Dropping it ends the program if it was asked for so, else only the
/// following.
pub struct RunningExec {
    /// Names the execution.
    pub id: ExecId,
    /// Output as it comes, then exactly one [`ExecEvent::Exit`]; it outlasts lost connections. A
    /// failure is the end too.
    pub events: BoxStream<'static, Result<ExecEvent, Failure>>,
    /// Standard input, if it was asked for; shutting it down is end of file.
    pub stdin: Option<Pin<Box<dyn AsyncWrite + Send>>>,
}

impl fmt::Debug for RunningExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningExec").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What is written down about one exec.
#[derive(Clone, Debug)]
pub(crate) struct Chronicler {
    pub(crate) sandbox: SandboxId,
    pub(crate) exec: ExecId,
    pub(crate) caller: Caller,
    pub(crate) digest: String,
}

impl Chronicler {
    fn started(&self, plane: &Plane) -> Record {
        let data = facts([("exec_id", self.exec.to_string())]);
        let entry = AuditEntry {
            detail: format!("{} {}", self.exec, self.digest),
            ..chronicle::audit(&self.caller, "exec", "started", plane.clock.now())
        };
        chronicle::inside(&self.sandbox, Some((EventKind::ExecStarted, data)), entry)
    }

    /// About the end.
    pub(crate) fn ended(&self, plane: &Plane, exit: &ExecExit) -> Record {
        let kind = match exit.outcome {
            Outcome::TimedOut => EventKind::ExecTimeout,
            Outcome::SandboxLost | Outcome::StartFailed(..) => EventKind::ExecFailed,
            Outcome::Exited(_)
            | Outcome::Signaled(_)
            | Outcome::OomKilled
            | Outcome::Canceled => EventKind::ExecCompleted,
        };
        let outcome = exit.outcome.word();
        let data = facts([
            ("exec_id", self.exec.to_string()),
            ("outcome", outcome.to_owned()),
            ("exit_code", exit.outcome.exit_code().to_string()),
            ("duration", model::format_duration(exit.duration)),
        ]);
        let entry = AuditEntry {
            detail: format!("{} {}", self.exec, self.digest),
            ..chronicle::audit(&self.caller, "exec", outcome, plane.clock.now())
        };
        chronicle::inside(&self.sandbox, Some((kind, data)), entry)
    }
}

impl Plane {
    /// Starts a program and follows it.
    pub(crate) async fn exec(
        self: &Arc<Self>,
        caller: &Caller,
        id: &SandboxId,
        new: NewExec,
    ) -> Result<RunningExec, Failure> {
        let exec = ExecId::random(&mut rand::rng());
        let digest = chronicle::program_digest(&new.program);
        let spec = validate::exec(&self.options, exec.clone(), new)?;
        let row = self.at_work(id).await?;
        let chronicler =
            Chronicler { sandbox: id.clone(), exec: exec.clone(), caller: caller.clone(), digest };
        // Written before anything runs: what cannot be written down does not happen. The
        // writing and the connecting wait for each other's slower one only.
        let (written, guest) = tokio::join!(
            self.journal.write(chronicler.started(self)),
            self.guest(&row)
        );
        written?;
        let guest = guest?;
        let mut session = match self.start(&guest, &spec).await {
            Ok(session) => session,
            Err(failure) => {
                if is_lost(&failure) {
                    self.suspect(&row);
                }
                return Err(failure);
            }
        };
        let stdin = session.stdin.take();
        let kill = spec.kill_on_disconnect;
        let follow = Follow::new(Arc::clone(self), row, chronicler, (guest, session), kill);
        Ok(RunningExec { id: exec, events: follow.events().boxed(), stdin })
    }

    async fn start(
        &self,
        guest: &Arc<dyn Guest>,
        spec: &ExecSpec,
    ) -> Result<ExecSession, Failure> {
        guest.exec(spec).await
    }

    /// Runs a program and answers in one piece.
    pub(crate) async fn exec_collect(
        self: &Arc<Self>,
        caller: &Caller,
        id: &SandboxId,
        new: NewExec,
    ) -> Result<ExecResult, Failure> {
        let workdir = new.workdir.clone();
        let mut running = self.exec(caller, id, new).await?;
        let mut stdout = Output::with_limit(self.options.output_limit);
        let mut stderr = Output::with_limit(self.options.output_limit);
        while let Some(event) = running.events.next().await {
            match event? {
                ExecEvent::Stdout(bytes) => stdout.push(&bytes),
                ExecEvent::Stderr(bytes) => stderr.push(&bytes),
                ExecEvent::Exit(exit) => {
                    if let Outcome::StartFailed(StartFailure::BadWorkdir, message) = exit.outcome {
                        return Err(Failure::new(Reason::WorkdirInvalid, message)
                            .detail("field", "workdir")
                            .detail("workdir", workdir.unwrap_or_default()));
                    }
                    return Ok(ExecResult {
                        id: running.id.clone(),
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
}
