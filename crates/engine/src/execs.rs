//! Programs that were started before: which there are, their input, signals and end, and finding
//! them again after a restart. [`crate::exec`] starts them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use model::{
    EventKind, ExecId, ExecProgram, ExecRecord, Failure, Outcome, Phase, Reason, Sandbox,
    SandboxId, StartFailure, TtySize,
};
use provider::{ByteStream, ExecEvent, Guest};
use store::AuditEntry;

use crate::chronicle::{self, facts};
use crate::exec::Run;
use crate::follow::{Follower, end_at, nothing};
use crate::guests::is_lost;
use crate::plane::{Plane, locked};
use crate::request::{Caller, NewExec};
use crate::validate;

/// How many execs of a sandbox a list shows, the newest first: more than an agent remembers.
const LISTED: u32 = 1000;

/// How much longer than its grace an exec that is ended may take to say so.
const KILL_MARGIN: Duration = Duration::from_secs(10);

/// Which exec of which sandbox.
pub(crate) type Which<'a> = (&'a SandboxId, &'a ExecId);

/// The execs that a task of this engine follows to their end.
#[derive(Debug, Default)]
pub(crate) struct Followed(Mutex<HashSet<ExecId>>);

/// Takes an exec out again when it is dropped.
pub(crate) struct Following<'a> {
    followed: &'a Followed,
    id: ExecId,
}

impl Followed {
    /// Notes that an exec is followed for as long as the answer lives.
    pub(crate) fn enter(&self, id: &ExecId) -> Following<'_> {
        locked(&self.0).insert(id.clone());
        Following { followed: self, id: id.clone() }
    }

    fn has(&self, id: &ExecId) -> bool {
        locked(&self.0).contains(id)
    }
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        locked(&self.followed.0).remove(&self.id);
    }
}

impl Plane {
    /// The row of an exec.
    pub(crate) async fn kept_exec(
        &self,
        id: &SandboxId,
        exec: &ExecId,
    ) -> Result<ExecRecord, Failure> {
        self.store.exec(id, exec).await?.ok_or_else(|| not_found(exec))
    }

    /// An exec of a sandbox that was not destroyed.
    pub(crate) async fn exec_record(&self, (id, exec): Which<'_>) -> Result<ExecRecord, Failure> {
        self.present(id).await?;
        self.kept_exec(id, exec).await
    }

    /// The execs of a sandbox that was not destroyed, the newest first.
    pub(crate) async fn exec_records(&self, id: &SandboxId) -> Result<Vec<ExecRecord>, Failure> {
        self.present(id).await?;
        self.store.execs(id, LISTED).await
    }

    /// Writes to a program's standard input. Not tried again over another connection: a part of
    /// the bytes may have arrived.
    pub(crate) async fn exec_stdin(
        self: &Arc<Self>,
        (id, exec): Which<'_>,
        body: ByteStream,
        close: bool,
    ) -> Result<u64, Failure> {
        self.told(id, exec).await?.send_stdin(exec, body, close).await
    }

    /// Sends a signal to a program.
    pub(crate) async fn exec_signal(
        self: &Arc<Self>,
        caller: &Caller,
        (id, exec): Which<'_>,
        signal: i32,
    ) -> Result<(), Failure> {
        let sent = self.told(id, exec).await?.signal(exec, signal).await;
        let outcome = sent.as_ref().err().map_or("ok", |failure| failure.reason.word());
        let what = ("exec.signal", format!("{exec} {signal}"));
        self.note_done(caller, id, what, outcome).await?;
        sent
    }

    /// Sets the size of a program's terminal.
    pub(crate) async fn exec_resize(
        self: &Arc<Self>,
        (id, exec): Which<'_>,
        size: TtySize,
    ) -> Result<(), Failure> {
        let size = validate::terminal(size)?;
        self.told(id, exec).await?.resize(exec, size).await
    }

    /// Ends a program and all that it started, and returns once it has ended.
    pub(crate) async fn exec_kill(
        self: &Arc<Self>,
        caller: &Caller,
        (id, exec): Which<'_>,
    ) -> Result<ExecRecord, Failure> {
        let record = self.exec_record((id, exec)).await?;
        if record.end.is_some() {
            // What it has left running ends as well; there may be nothing, or no sandbox.
            if let Ok(guest) = self.told(id, exec).await {
                let _ = guest.cancel(exec).await;
            }
            return Ok(record);
        }
        let guest = self.told(id, exec).await?;
        // Waited for from before it is asked to end, so that its end is not missed.
        let mut session = guest.wait(exec).await?;
        let asked = guest.cancel(exec).await;
        let outcome = asked.as_ref().err().map_or("ok", |failure| failure.reason.word());
        self.note_done(caller, id, ("exec.kill", exec.to_string()), outcome).await?;
        asked?;
        let limit = self.options.exec_grace + KILL_MARGIN;
        let late = || {
            let message = format!("exec did not end in time: {exec}");
            Failure::new(Reason::SandboxUnreachable, message)
        };
        let event = tokio::time::timeout(limit, session.events.next()).await.map_err(|_| late())?;
        let Some(ExecEvent::Exit(exit)) = event.transpose()? else { return Err(late()) };
        let end = end_at(self.clock.now(), exit);
        Ok(ExecRecord { end: Some(end), ..record })
    }

    /// A connection over which a program can be told something.
    async fn told(
        self: &Arc<Self>,
        id: &SandboxId,
        exec: &ExecId,
    ) -> Result<Arc<dyn Guest>, Failure> {
        match self.at_work(id).await {
            Ok(row) => self.guest(&row).await,
            // What has ended with its sandbox is said to have ended, not the sandbox.
            Err(failure) => match self.store.exec(id, exec).await? {
                Some(ExecRecord { end: Some(_), .. }) => Err(ended(exec)),
                Some(_) | None => Err(failure),
            },
        }
    }

    /// Writes down what was done to a program.
    async fn note_done(
        &self,
        caller: &Caller,
        id: &SandboxId,
        (action, detail): (&'static str, String),
        outcome: &str,
    ) -> Result<(), Failure> {
        let entry = chronicle::audit(caller, action, outcome, self.clock.now());
        self.journal.write(chronicle::inside(id, None, AuditEntry { detail, ..entry })).await
    }

    /// Follows every program again that an earlier engine followed, and ends the rows of those
    /// whose sandbox is over.
    pub(crate) async fn resume_execs(self: &Arc<Self>) -> Result<(), Failure> {
        for record in self.store.open_execs().await? {
            if self.followed.has(&record.id) {
                continue;
            }
            let row = self.store.get(&record.sandbox).await?;
            match row.as_ref().map(|row| row.phase) {
                Some(Phase::Running) => {
                    let row = row.expect("its phase was just read");
                    self.tasks.spawn(resume(self.clone(), row, record))?;
                }
                // What is being created, lost or ended is looked at again when that is over.
                Some(Phase::Pending | Phase::Starting | Phase::Lost | Phase::Stopping(_)) => {}
                Some(Phase::Gone(_)) | None => self.close(&record).await?,
            }
        }
        Ok(())
    }

    /// Ends the row of a program whose sandbox is over.
    async fn close(&self, record: &ExecRecord) -> Result<(), Failure> {
        let (outcome, at) = (Outcome::SandboxLost, self.clock.now());
        let caller = Caller { owner: record.owner.clone(), request_id: None };
        let data = facts([
            ("exec_id", record.id.to_string()),
            ("outcome", outcome.word().to_owned()),
            ("exit_code", outcome.exit_code().to_string()),
        ]);
        let entry = chronicle::audit(&caller, "exec", outcome.word(), at);
        let entry = AuditEntry { detail: record.id.to_string(), ..entry };
        let noted = chronicle::inside(&record.sandbox, Some((EventKind::ExecFailed, data)), entry);
        let end = end_at(at, nothing(outcome));
        self.store.end_exec(&record.id, &end, &noted).await.map(drop)
    }
}

/// Waits for the end of a program that an earlier engine started.
async fn resume(plane: Arc<Plane>, row: Sandbox, record: ExecRecord) {
    let _followed = plane.followed.enter(&record.id);
    let run = run_again(&plane.options, row, &record);
    let waiting = match plane.guest(&run.row).await {
        Ok(guest) => guest.wait(&record.id).await.map(|session| (guest, session)),
        Err(failure) => Err(failure),
    };
    match waiting {
        Ok((guest, session)) => {
            Follower::new(plane.clone(), run, guest, None).follow(session).await;
        }
        Err(failure) if failure.reason == Reason::ExecNotFound => {
            let message = "the server stopped before the program was started, or its end was \
                           forgotten";
            let outcome = Outcome::StartFailed(StartFailure::Other, message.to_owned());
            plane.note_end(&run, outcome.word(), &nothing(outcome.clone())).await;
        }
        Err(failure) if is_lost(&failure) => {
            tracing::info!(exec = %record.id, error = %failure, "not followed yet");
        }
        Err(failure) => tracing::warn!(exec = %record.id, error = %failure, "not followed"),
    }
}

/// What is still known about the start of a program.
fn run_again(options: &crate::options::EngineOptions, row: Sandbox, record: &ExecRecord) -> Run {
    let program = ExecProgram::Shell(String::new());
    let new = NewExec { kill_on_disconnect: false, ..NewExec::new(program) };
    let spec = validate::exec(options, record.id.clone(), new);
    let mut spec = spec.expect("an empty line is a valid program");
    // The agent keeps the deadline that it was given.
    (spec.timeout, spec.detached) = (None, true);
    let caller = Caller { owner: record.owner.clone(), request_id: None };
    Run { row, spec, caller, digest: None, input: None, key: None }
}

fn not_found(exec: &ExecId) -> Failure {
    Failure::new(Reason::ExecNotFound, format!("exec not found: {exec}"))
}

fn ended(exec: &ExecId) -> Failure {
    Failure::new(Reason::ExecNotRunning, format!("exec has ended: {exec}"))
}
