//! What happens inside a sandbox besides programs: files, ports, output, usage.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use model::{
    EventKind, Failure, FileEvent, FileInfo, FileOp, FileReply, Grep, Phase, Reason, Sandbox,
    SandboxId, SandboxPath, Stats, Stored, Timestamp, Unpacked,
};
use provider::{ByteRange, ByteStream, Duplex, Guest, WriteOptions};
use store::AuditEntry;

use crate::chronicle::{self, facts};
use crate::guests::is_lost;
use crate::limits;
use crate::plane::{Plane, locked};
use crate::refuse::not_running;
use crate::request::Caller;
use crate::validate;

/// What a sandbox uses, and how busy it was since it was last asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StatsSample {
    /// What it uses now.
    pub stats: Stats,
    /// Processor time per time that passed, in percent of one core: since the last sample, or
    /// since the sandbox was made.
    pub cpu_pct: f64,
}

/// The last samples by sandbox.
pub(crate) type Samples = HashMap<SandboxId, (Timestamp, Duration)>;

/// A call of a guest that can be made again.
type Call<'a, T> = &'a (dyn Fn(Arc<dyn Guest>) -> BoxFuture<'a, Result<T, Failure>> + Send + Sync);

impl Plane {
    /// Makes a call that changes nothing; once more over a new connection if the old one is lost
    /// under it.
    async fn ask<T>(self: &Arc<Self>, row: &Sandbox, call: Call<'_, T>) -> Result<T, Failure> {
        let guest = self.guest(row).await?;
        match call(guest).await {
            Err(failure) if is_lost(&failure) => {
                locked(&self.guests).forget(&row.name());
                let guest = self.guest(row).await?;
                call(guest).await
            }
            result => result,
        }
    }

    /// Looks at a sandbox whose agent did not answer. One that is being ended meanwhile is said
    /// to be, and not that it is out of reach.
    async fn notice<T>(
        self: &Arc<Self>,
        row: &Sandbox,
        result: Result<T, Failure>,
    ) -> Result<T, Failure> {
        if !result.as_ref().is_err_and(is_lost) {
            return result;
        }
        locked(&self.guests).forget(&row.name());
        match self.row(&row.id).await {
            Ok(now) if !now.phase.takes_work() && now.phase != Phase::Lost => {
                Err(not_running(&now))
            }
            Ok(_) | Err(_) => {
                self.suspect(row);
                result
            }
        }
    }

    pub(crate) async fn fs(
        self: &Arc<Self>,
        caller: &Caller,
        id: &SandboxId,
        op: FileOp,
    ) -> Result<FileReply, Failure> {
        if let FileOp::Grep(grep) = &op {
            validate::grep(&self.options, grep)?;
        }
        let row = self.at_work(id).await?;
        if !op.is_mutation() {
            let (op, asked) = (Arc::new(op.clone()), op);
            let call = move |guest: Arc<dyn Guest>| -> BoxFuture<'_, _> {
                let op = op.clone();
                Box::pin(async move { guest.fs(&op).await })
            };
            let answer = self.notice(&row, self.ask(&row, &call).await).await;
            return limits::of_listing(&self.options, &asked, answer);
        }
        let result = self.guest(&row).await?.fs(&op).await;
        let detail = match &op {
            FileOp::Move { from, to } | FileOp::Copy { from, to, .. } => format!("{from} -> {to}"),
            FileOp::Grep(Grep { path, .. })
            | FileOp::Stat(path)
            | FileOp::List(path)
            | FileOp::Glob { pattern: path, .. }
            | FileOp::Page { path, .. }
            | FileOp::Mkdir { path, .. }
            | FileOp::Delete { path, .. }
            | FileOp::Chmod { path, .. } => path.to_string(),
        };
        self.note_change(caller, &row, (op.word(), detail), result.as_ref().err()).await?;
        self.notice(&row, result).await
    }

    pub(crate) async fn read_file(
        self: &Arc<Self>,
        id: &SandboxId,
        path: &SandboxPath,
        range: ByteRange,
    ) -> Result<(FileInfo, ByteStream), Failure> {
        let row = self.at_work(id).await?;
        let path = path.clone();
        let call = move |guest: Arc<dyn Guest>| -> BoxFuture<'_, _> {
            let path = path.clone();
            Box::pin(async move { guest.read(&path, range).await })
        };
        self.notice(&row, self.ask(&row, &call).await).await
    }

    pub(crate) async fn write_file(
        self: &Arc<Self>,
        caller: &Caller,
        id: &SandboxId,
        (path, options): (&SandboxPath, WriteOptions),
        body: ByteStream,
    ) -> Result<Stored, Failure> {
        let row = self.at_work(id).await?;
        let result = self.guest(&row).await?.write(path, options, body).await;
        let what = ("file.write", path.to_string());
        self.note_change(caller, &row, what, result.as_ref().err()).await?;
        self.notice(&row, result).await
    }

    pub(crate) async fn pack(
        self: &Arc<Self>,
        id: &SandboxId,
        path: &SandboxPath,
    ) -> Result<ByteStream, Failure> {
        let row = self.at_work(id).await?;
        let path = path.clone();
        let call = move |guest: Arc<dyn Guest>| -> BoxFuture<'_, _> {
            let path = path.clone();
            Box::pin(async move { guest.pack(&path).await })
        };
        self.notice(&row, self.ask(&row, &call).await).await
    }

    pub(crate) async fn watch_files(
        self: &Arc<Self>,
        id: &SandboxId,
        path: &SandboxPath,
        recursive: bool,
    ) -> Result<BoxStream<'static, Result<FileEvent, Failure>>, Failure> {
        let row = self.at_work(id).await?;
        let path = path.clone();
        let call = move |guest: Arc<dyn Guest>| -> BoxFuture<'_, _> {
            let path = path.clone();
            Box::pin(async move { guest.watch_files(&path, recursive).await })
        };
        self.notice(&row, self.ask(&row, &call).await).await
    }

    pub(crate) async fn unpack(
        self: &Arc<Self>,
        caller: &Caller,
        id: &SandboxId,
        path: &SandboxPath,
        body: ByteStream,
    ) -> Result<Unpacked, Failure> {
        let row = self.at_work(id).await?;
        let limits = limits::archive(&self.options);
        let result = self.guest(&row).await?.unpack(path, limits, body).await;
        let result = limits::of_archive(&self.options, result);
        let what = ("file.unpack", path.to_string());
        self.note_change(caller, &row, what, result.as_ref().err()).await?;
        self.notice(&row, result).await
    }

    /// Writes down that a file was changed, or could not be.
    async fn note_change(
        &self,
        caller: &Caller,
        row: &Sandbox,
        (action, detail): (&'static str, String),
        failure: Option<&Failure>,
    ) -> Result<(), Failure> {
        let outcome = failure.map_or("ok", |failure| failure.reason.word());
        let data = facts([("operation", action.to_owned()), ("path", detail.clone())]);
        let event = failure.is_none().then_some((EventKind::FileWritten, data));
        let entry = chronicle::audit(caller, action, outcome, self.clock.now());
        let entry = AuditEntry { detail, ..entry };
        self.journal.write(chronicle::inside(&row.id, event, entry)).await
    }

    pub(crate) async fn dial(
        self: &Arc<Self>,
        id: &SandboxId,
        port: u16,
    ) -> Result<Box<dyn Duplex>, Failure> {
        let row = self.at_work(id).await?;
        let call = move |guest: Arc<dyn Guest>| -> BoxFuture<'_, _> {
            Box::pin(async move { guest.dial(port).await })
        };
        self.notice(&row, self.ask(&row, &call).await).await
    }

    pub(crate) async fn logs(
        self: &Arc<Self>,
        id: &SandboxId,
        lines: u32,
    ) -> Result<Vec<String>, Failure> {
        let row = self.at_work(id).await?;
        let call = move |guest: Arc<dyn Guest>| -> BoxFuture<'_, _> {
            Box::pin(async move { guest.console(lines).await })
        };
        self.notice(&row, self.ask(&row, &call).await).await
    }

    pub(crate) async fn stats(&self, id: &SandboxId) -> Result<Option<StatsSample>, Failure> {
        let row = self.present(id).await?;
        let provider = self.providers.get(&row.provider)?;
        let stats = match provider.usage(&row.name()).await {
            Ok(stats) => stats,
            Err(failure) if failure.reason == Reason::Unsupported => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let now = self.clock.now();
        let last = locked(&self.samples).insert(row.id.clone(), (now, stats.cpu));
        let (since, cpu) = last.unwrap_or((row.created_at, Duration::ZERO));
        Ok(Some(StatsSample {
            stats,
            cpu_pct: busy(stats.cpu.saturating_sub(cpu), now.since(since)),
        }))
    }
}

/// Processor time per time, in percent.
fn busy(cpu: Duration, passed: Duration) -> f64 {
    if passed.is_zero() { 0.0 } else { cpu.as_secs_f64() / passed.as_secs_f64() * 100.0 }
}
