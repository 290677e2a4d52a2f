//! The engine as its callers see it: every operation in one place, each wrapped once.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use model::{
    Clock, Event, ExecId, ExecRecord, ExecResult, Failure, FileEvent, FileInfo, FileOp, FileReply,
    Sandbox, SandboxId, SandboxPath, Stored, Timestamp, TtySize, Unpacked,
};
use provider::{ByteRange, ByteStream, Duplex, Provider, WatchStream, WriteOptions};
use store::Store;
use tokio::sync::watch;

use crate::admission::Admission;
use crate::exec::RunningExec;
use crate::files::StatsSample;
use crate::options::EngineOptions;
use crate::output::OutputRange;
use crate::plane::Plane;
use crate::providers::{ProviderReport, Providers};
use crate::reconcile::Reconciled;
use crate::request::{Caller, ListFilter, NewExec, NewSandbox};

/// The control plane of one store and its providers.
///
/// Every method may be called at any time from any task. Dropping a call's future leaves nothing
/// half done: what was begun goes on in a task of the engine. Dropping the engine without
/// [`shutdown`](Self::shutdown) is [`abandon`](Self::abandon).
pub struct Engine {
    plane: Arc<Plane>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("options", &self.plane.options).finish_non_exhaustive()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl Engine {
    /// Starts on what an earlier engine left: rows and runtimes are made to agree before this
    /// returns, and kept so from then on.
    pub async fn start(
        options: EngineOptions,
        store: Store,
        providers: Vec<Arc<dyn Provider>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Failure> {
        let engine = Self::start_without_loops(options, store, providers, clock).await?;
        let plane = &engine.plane;
        plane.tasks.spawn(Arc::clone(plane).reap_forever())?;
        plane.tasks.spawn(Arc::clone(plane).reconcile_forever())?;
        Ok(engine)
    }

    /// Starts an engine that reaps and reconciles only when it is told to: for tests that move
    /// time themselves.
    pub async fn start_without_loops(
        options: EngineOptions,
        store: Store,
        providers: Vec<Arc<dyn Provider>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Failure> {
        let providers = Providers::new(&options, providers)?;
        let plane = Arc::new(Plane::new(options, store, providers, clock));
        plane.reconcile().await?;
        Ok(Arc::new(Self { plane }))
    }

    /// Takes no more work, finishes what is under way, and closes the providers. Sandboxes go on.
    pub async fn shutdown(&self) {
        self.plane.stop.cancel();
        self.plane.tasks.finish().await;
        self.plane.journal.finish().await;
        self.plane.providers.close().await;
        self.plane.store.close().await;
    }

    /// Stops where it stands, as a crash of the process would: nothing is finished or closed.
    pub fn abandon(&self) {
        self.plane.stop.cancel();
        self.plane.tasks.abort();
        self.plane.journal.abort();
    }

    /// Makes rows and runtimes agree, now.
    pub async fn reconcile(&self) -> Result<Reconciled, Failure> {
        self.plane.reconcile().await
    }

    /// Begins to end what is due, and says when the next thing is.
    pub async fn reap(&self) -> Result<Option<Timestamp>, Failure> {
        self.plane.reap().await
    }

    /// Makes a sandbox and returns when it runs. On failure nothing is left but a row that says
    /// why.
    pub async fn create(&self, caller: &Caller, new: NewSandbox) -> Result<Sandbox, Failure> {
        self.plane.op("sandbox.create", caller, None, self.plane.spawn(caller, new)).await
    }

    /// Whether a create would be let through now.
    pub async fn admission(&self, caller: &Caller, new: &NewSandbox) -> Result<Admission, Failure> {
        self.plane.op("sandbox.admission", caller, None, self.plane.admission(caller, new)).await
    }

    /// A sandbox that was not destroyed.
    pub async fn get(&self, caller: &Caller, id: &SandboxId) -> Result<Sandbox, Failure> {
        self.plane.op("sandbox.get", caller, Some(id), self.plane.present(id)).await
    }

    /// Sandboxes, the newest first.
    pub async fn list(&self, caller: &Caller, filter: ListFilter) -> Result<Vec<Sandbox>, Failure> {
        self.plane.op("sandbox.list", caller, None, self.plane.list(&filter)).await
    }

    /// Ends a sandbox, in whatever phase it is; one that has ended is fine. With `wait`, returns
    /// when nothing of it is left.
    pub async fn delete(
        &self,
        caller: &Caller,
        id: &SandboxId,
        wait: bool,
    ) -> Result<Sandbox, Failure> {
        self.plane.op("sandbox.delete", caller, Some(id), self.plane.delete(caller, id, wait)).await
    }

    /// Ends every sandbox whose time is over, without waiting for the reaper, and says how many
    /// are gone.
    pub async fn prune(&self, caller: &Caller) -> Result<u64, Failure> {
        self.plane.op("sandbox.prune", caller, None, self.plane.prune()).await
    }

    /// Gives a sandbox `ttl` from now on.
    pub async fn extend(
        &self,
        caller: &Caller,
        id: &SandboxId,
        ttl: Duration,
    ) -> Result<Sandbox, Failure> {
        self.plane.op("sandbox.extend", caller, Some(id), self.plane.extend(caller, id, ttl)).await
    }

    /// Starts a program and follows it.
    pub async fn exec(
        &self,
        caller: &Caller,
        id: &SandboxId,
        new: NewExec,
    ) -> Result<RunningExec, Failure> {
        self.plane.op("exec", caller, Some(id), self.plane.exec(caller, id, new)).await
    }

    /// Runs a program and answers in one piece, with as much of its output as the limit allows.
    pub async fn exec_collect(
        &self,
        caller: &Caller,
        id: &SandboxId,
        new: NewExec,
    ) -> Result<ExecResult, Failure> {
        self.plane.op("exec", caller, Some(id), self.plane.exec_collect(caller, id, new)).await
    }

    /// Starts a program that goes on by itself, and returns once it runs.
    pub async fn exec_background(
        &self,
        caller: &Caller,
        id: &SandboxId,
        new: NewExec,
    ) -> Result<ExecRecord, Failure> {
        self.plane.op("exec", caller, Some(id), self.plane.exec_background(caller, id, new)).await
    }

    /// The execs of a sandbox that may outlive the calls that started them, the newest first.
    pub async fn execs(&self, caller: &Caller, id: &SandboxId) -> Result<Vec<ExecRecord>, Failure> {
        self.plane.op("exec.list", caller, Some(id), self.plane.exec_records(id)).await
    }

    /// One of them.
    pub async fn exec_record(
        &self,
        caller: &Caller,
        (id, exec): (&SandboxId, &ExecId),
    ) -> Result<ExecRecord, Failure> {
        self.plane.op("exec.get", caller, Some(id), self.plane.exec_record((id, exec))).await
    }

    /// A program's output: what is still kept of it, then what comes.
    pub async fn exec_output(
        &self,
        caller: &Caller,
        (id, exec): (&SandboxId, &ExecId),
        range: OutputRange,
    ) -> Result<WatchStream, Failure> {
        let output = self.plane.exec_output((id, exec), range);
        self.plane.op("exec.output", caller, Some(id), output).await
    }

    /// Ends a program with all that it started, and returns once it has ended; one that has ended
    /// is fine.
    pub async fn exec_kill(
        &self,
        caller: &Caller,
        (id, exec): (&SandboxId, &ExecId),
    ) -> Result<ExecRecord, Failure> {
        let kill = self.plane.exec_kill(caller, (id, exec));
        self.plane.op("exec.kill", caller, Some(id), kill).await
    }

    /// Sends a signal to a program.
    pub async fn exec_signal(
        &self,
        caller: &Caller,
        (id, exec): (&SandboxId, &ExecId),
        signal: i32,
    ) -> Result<(), Failure> {
        let send = self.plane.exec_signal(caller, (id, exec), signal);
        self.plane.op("exec.signal", caller, Some(id), send).await
    }

    /// Sets the size of a program's terminal.
    pub async fn exec_resize(
        &self,
        caller: &Caller,
        (id, exec): (&SandboxId, &ExecId),
        size: TtySize,
    ) -> Result<(), Failure> {
        let resize = self.plane.exec_resize((id, exec), size);
        self.plane.op("exec.resize", caller, Some(id), resize).await
    }

    /// Writes to a program's standard input, and closes it behind that if asked to; how many
    /// bytes the program's pipe has taken.
    pub async fn exec_stdin(
        &self,
        caller: &Caller,
        (id, exec): (&SandboxId, &ExecId),
        (body, close): (ByteStream, bool),
    ) -> Result<u64, Failure> {
        let write = self.plane.exec_stdin((id, exec), body, close);
        self.plane.op("exec.stdin", caller, Some(id), write).await
    }

    /// Does a file operation.
    pub async fn fs(
        &self,
        caller: &Caller,
        id: &SandboxId,
        op: FileOp,
    ) -> Result<FileReply, Failure> {
        self.plane.op(op.word(), caller, Some(id), self.plane.fs(caller, id, op)).await
    }

    /// A file's bytes as they come.
    pub async fn read_file(
        &self,
        caller: &Caller,
        id: &SandboxId,
        path: &SandboxPath,
        range: ByteRange,
    ) -> Result<(FileInfo, ByteStream), Failure> {
        self.plane.op("file.read", caller, Some(id), self.plane.read_file(id, path, range)).await
    }

    /// Replaces a file by `body`, all of it or not at all, and says what it is now.
    pub async fn write_file(
        &self,
        caller: &Caller,
        id: &SandboxId,
        (path, options): (&SandboxPath, WriteOptions),
        body: ByteStream,
    ) -> Result<Stored, Failure> {
        let write = self.plane.write_file(caller, id, (path, options), body);
        self.plane.op("file.write", caller, Some(id), write).await
    }

    /// What is beneath a directory, or a single file, as a plain tar archive.
    pub async fn pack(
        &self,
        caller: &Caller,
        id: &SandboxId,
        path: &SandboxPath,
    ) -> Result<ByteStream, Failure> {
        self.plane.op("file.pack", caller, Some(id), self.plane.pack(id, path)).await
    }

    /// What happens to a file, or in a directory, for as long as the stream is read.
    pub async fn watch_files(
        &self,
        caller: &Caller,
        id: &SandboxId,
        (path, recursive): (&SandboxPath, bool),
    ) -> Result<BoxStream<'static, Result<FileEvent, Failure>>, Failure> {
        let watch = self.plane.watch_files(id, path, recursive);
        self.plane.op("file.watch", caller, Some(id), watch).await
    }

    /// Makes files from a plain tar archive beneath a directory.
    pub async fn unpack(
        &self,
        caller: &Caller,
        id: &SandboxId,
        path: &SandboxPath,
        body: ByteStream,
    ) -> Result<Unpacked, Failure> {
        let unpack = self.plane.unpack(caller, id, path, body);
        self.plane.op("file.unpack", caller, Some(id), unpack).await
    }

    /// Connects to a port in a sandbox.
    pub async fn dial(&self, id: &SandboxId, port: u16) -> Result<Box<dyn Duplex>, Failure> {
        let caller = Caller::default();
        self.plane.op("port.dial", &caller, Some(id), self.plane.dial(id, port)).await
    }

    /// The last lines of what programs printed, oldest first.
    pub async fn logs(
        &self,
        caller: &Caller,
        id: &SandboxId,
        lines: u32,
    ) -> Result<Vec<String>, Failure> {
        self.plane.op("sandbox.logs", caller, Some(id), self.plane.logs(id, lines)).await
    }

    /// What a sandbox uses; `None` if its provider cannot tell.
    pub async fn stats(
        &self,
        caller: &Caller,
        id: &SandboxId,
    ) -> Result<Option<StatsSample>, Failure> {
        self.plane.op("sandbox.stats", caller, Some(id), self.plane.stats(id)).await
    }

    /// Every provider, looked at now.
    pub async fn providers(&self) -> Vec<ProviderReport> {
        self.plane.provider_reports().await
    }

    /// One provider, looked at now.
    pub async fn provider(&self, name: &str) -> Result<ProviderReport, Failure> {
        let provider = self.plane.providers.get(name)?;
        Ok(self.plane.report(&provider).await)
    }

    /// Whether sandboxes could be made now.
    pub async fn ready(&self) -> Result<(), Failure> {
        self.plane.ready().await
    }

    /// Up to `limit` events with a number over `seq`, in order.
    pub async fn events_after(&self, seq: i64, limit: u32) -> Result<Vec<Event>, Failure> {
        self.plane.store.events_after(seq, limit).await
    }

    /// The number of the last event, as it changes: a wake-up, the events are in the store.
    pub fn event_signal(&self) -> watch::Receiver<i64> {
        self.plane.store.committed()
    }

    /// How the engine was configured.
    pub fn options(&self) -> &EngineOptions {
        &self.plane.options
    }

    /// When it was started.
    pub fn started_at(&self) -> Timestamp {
        self.plane.started_at
    }

    /// The present moment, by the engine's clock.
    pub fn now(&self) -> Timestamp {
        self.plane.clock.now()
    }
}
