//! Files, ports, console and counters of a sandbox: everything that is asked of a guest besides
//! execs.

use std::collections::HashMap;
use std::sync::Arc;

use model::{
    EventKind, Failure, FileInfo, FileOp, FileReply, Reason, Sandbox, SandboxId, SandboxPath,
    Stats, Timestamp,
};
use provider::{ByteRange, ByteStream, Capability, Duplex, WriteOptions};
use store::AuditEntry;

use crate::chronicle::{self, facts};
use crate::guests::is_lost;
use crate::plane::{Plane, locked};
use crate::request::Caller;

/// The last sample of each sandbox's processor time, to tell a rate from.
pub(crate) type Samples = HashMap<SandboxId, (Timestamp, Stats)>;

/// What a sandbox uses now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StatsSample {
    /// The counters.
    pub stats: Stats,
    /// Processor use since the last sample, or since the start, in percent of one core.
    pub cpu_pct: f64,
}

impl Plane {
    /// Passes a guest's failure on, and looks at a sandbox that did not answer.
    fn watched<T>(
        self: &Arc<Self>,
        row: &Sandbox,
        result: Result<T, Failure>,
    ) -> Result<T, Failure> {
        if result.as_ref().is_err_and(is_lost) {
            self.suspect(row);
        }
        result
    }

    async fn changed(
        &self,
        caller: &Caller,
        id: &SandboxId,
        (action, path): (&'static str, &SandboxPath),
    ) -> Result<(), Failure> {
        let data = facts([("path", path.to_string()), ("operation", action.to_owned())]);
        let entry = AuditEntry {
            detail: path.to_string(),
            ..chronicle::audit(caller, action, "ok", self.clock.now())
        };
        let record = chronicle::inside(id, Some((EventKind::FileWritten, data)), entry);
        self.journal.write(record).await
    }

    pub(crate) async fn fs(
        self: &Arc<Self>,
        caller: &Caller,
        id: &SandboxId,
        op: &FileOp,
    ) -> Result<FileReply, Failure> {
        let row = self.at_work(id).await?;
        let guest = self.guest(&row).await?;
        let reply = self.watched(&row, guest.fs(op).await)?;
        if op.is_mutation() {
            self.changed(caller, id, (op.word(), op.path())).await?;
        }
        Ok(reply)
    }

    pub(crate) async fn read_file(
        self: &Arc<Self>,
        id: &SandboxId,
        path: &SandboxPath,
        range: ByteRange,
    ) -> Result<(FileInfo, ByteStream), Failure> {
        let row = self.at_work(id).await?;
        let guest = self.guest(&row).await?;
        self.watched(&row, guest.read(path, range).await)
    }

    pub(crate) async fn write_file(
        self: &Arc<Self>,
        caller: &Caller,
        id: &SandboxId,
        (path, options): (&SandboxPath, WriteOptions),
        body: ByteStream,
    ) -> Result<u64, Failure> {
        let row = self.at_work(id).await?;
        let guest = self.guest(&row).await?;
        let bytes = self.watched(&row, guest.write(path, options, body).await)?;
        self.changed(caller, id, ("file.write", path)).await?;
        Ok(bytes)
    }

    pub(crate) async fn dial(
        self: &Arc<Self>,
        id: &SandboxId,
        port: u16,
    ) -> Result<Box<dyn Duplex>, Failure> {
        let row = self.at_work(id).await?;
        let guest = self.guest(&row).await?;
        self.watched(&row, guest.dial(port).await)
    }

    pub(crate) async fn logs(
        self: &Arc<Self>,
        id: &SandboxId,
        lines: u32,
    ) -> Result<Vec<String>, Failure> {
        let row = self.at_work(id).await?;
        let guest = self.guest(&row).await?;
        self.watched(&row, guest.console(lines).await)
    }

    pub(crate) async fn stats(&self, id: &SandboxId) -> Result<Option<StatsSample>, Failure> {
        let row = self.present(id).await?;
        let provider = self.providers.get(&row.provider)?;
        if !provider.capabilities().contains(&Capability::Usage) {
            return Ok(None);
        }
        let stats = match provider.usage(&row.name()).await {
            Ok(stats) => stats,
            Err(failure) if failure.reason == Reason::Unsupported => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let now = self.clock.now();
        let before = locked(&self.samples).insert(id.clone(), (now, stats));
        let (since, cpu) = before.map_or((row.created_at, stats.cpu), |(at, before)| {
            (at, stats.cpu.saturating_sub(before.cpu))
        });
        let elapsed = now.since(since).as_secs_f64();
        let cpu_pct = if elapsed > 0.0 { cpu.as_secs_f64() / elapsed * 100.0 } else { 0.0 };
        Ok(Some(StatsSample { stats, cpu_pct }))
    }
}
