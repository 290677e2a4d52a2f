//! The inside of a runtime of the test double, and a connection to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use model::{
    ArchiveLimits, ExecId, ExecSpec, Failure, FileEvent, FileInfo, FileOp, FileReply, Reason,
    Resources, SandboxPath, Stored, TtySize, Unpacked,
};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::files::Files;
use super::program::{Channel, Running, Stdin, run};
use super::{CLOSED_PORT, Listeners, locked, lost};
use crate::contract::RuntimeStatus;
use crate::guest::{
    ByteRange, ByteStream, Duplex, ExecEvent, ExecSession, ExecStatus, Guest, Offsets, WatchStream,
    WriteOptions,
};

/// What a pipe or a connection holds before its writer waits.
const PIPE_BYTES: usize = 64 * 1024;

/// How many bytes of a file are handed out at a time.
const READ_CHUNK: usize = 64 * 1024;

/// One runtime.
#[derive(Debug)]
pub(super) struct Runtime {
    pub(super) resources: Resources,
    listeners: Listeners,
    files: Mutex<Files>,
    execs: Mutex<HashMap<ExecId, Arc<Running>>>,
    programs: Mutex<JoinSet<()>>,
    /// Canceled when the agent ends.
    gone: CancellationToken,
    /// Canceled when the connections are cut, then replaced.
    link: Mutex<CancellationToken>,
}

impl Runtime {
    pub(super) fn new(resources: Resources, listeners: Listeners) -> Self {
        let gone = CancellationToken::new();
        Self {
            resources,
            listeners,
            files: Mutex::default(),
            execs: Mutex::default(),
            programs: Mutex::default(),
            link: Mutex::new(gone.child_token()),
            gone,
        }
    }

    pub(super) fn status(&self) -> RuntimeStatus {
        if self.gone.is_cancelled() { RuntimeStatus::Broken } else { RuntimeStatus::Running }
    }

    /// Ends the agent and every program.
    pub(super) fn end(&self) {
        self.gone.cancel();
        locked(&self.programs).abort_all();
    }

    /// Waits until the agent has ended.
    pub(super) async fn ended(&self) {
        self.gone.cancelled().await;
    }

    /// Cuts the connections that there are.
    pub(super) fn sever(&self) {
        let fresh = self.gone.child_token();
        std::mem::replace(&mut *locked(&self.link), fresh).cancel();
    }

    pub(super) fn files(&self) -> MutexGuard<'_, Files> {
        locked(&self.files)
    }

    fn running(&self, id: &ExecId) -> Option<Arc<Running>> {
        locked(&self.execs).get(id).cloned()
    }
}

/// A connection to a runtime's agent.
pub(super) struct MemoryGuest {
    runtime: Arc<Runtime>,
    link: CancellationToken,
}

impl MemoryGuest {
    pub(super) fn connect(runtime: Arc<Runtime>) -> Self {
        let link = locked(&runtime.link).clone();
        Self { runtime, link }
    }

    fn alive(&self) -> Result<(), Failure> {
        if self.is_connected() { Ok(()) } else { Err(lost()) }
    }

    fn find(&self, id: &ExecId) -> Result<Arc<Running>, Failure> {
        let unknown = || Failure::new(Reason::ExecNotFound, format!("exec not found: {id}"));
        self.runtime.running(id).ok_or_else(unknown)
    }

    fn find_running(&self, id: &ExecId) -> Result<Arc<Running>, Failure> {
        let over = || Failure::new(Reason::ExecNotRunning, format!("exec has ended: {id}"));
        Some(self.find(id)?).filter(|running| running.is_running()).ok_or_else(over)
    }

    /// Follows a program's log from the bytes on that were seen.
    fn follow(&self, running: Arc<Running>, seen: Offsets) -> ExecSession {
        let follower = Follower {
            changes: running.changed.subscribe(),
            running,
            link: self.link.clone(),
            next: 0,
            skip: seen,
        };
        let events = stream::unfold(Some(follower), |follower| async {
            let mut follower = follower?;
            let event = follower.next().await;
            let goes_on = matches!(&event, Ok(ExecEvent::Stdout(_) | ExecEvent::Stderr(_)));
            Some((event, goes_on.then_some(follower)))
        });
        ExecSession { events: events.boxed(), start: seen }
    }
}

/// A session that passes on nothing but the end.
fn only_the_exit(session: ExecSession) -> ExecSession {
    let events = session.events.filter(|event| {
        std::future::ready(!matches!(event, Ok(ExecEvent::Stdout(_) | ExecEvent::Stderr(_))))
    });
    ExecSession { events: events.boxed(), start: session.start }
}

struct Follower {
    running: Arc<Running>,
    changes: tokio::sync::watch::Receiver<u64>,
    link: CancellationToken,
    /// The chunk of the log that comes next.
    next: usize,
    /// Bytes that are still to be left out, as they were seen before.
    skip: Offsets,
}

impl Follower {
    async fn next(&mut self) -> Result<ExecEvent, Failure> {
        loop {
            if self.link.is_cancelled() {
                return Err(lost());
            }
            self.changes.mark_unchanged();
            let (chunk, exit) = {
                let log = locked(&self.running.log);
                (log.chunks.get(self.next).cloned(), log.exit.clone())
            };
            match (chunk, exit) {
                (Some((channel, bytes)), _) => {
                    self.next += 1;
                    let bytes = self.unseen(channel, &bytes);
                    if !bytes.is_empty() {
                        return Ok(match channel {
                            Channel::Stdout => ExecEvent::Stdout(bytes),
                            Channel::Stderr => ExecEvent::Stderr(bytes),
                        });
                    }
                }
                (None, Some(exit)) => return Ok(ExecEvent::Exit(exit)),
                (None, None) => {
                    tokio::select! {
                        _ = self.changes.changed() => {}
                        () = self.link.cancelled() => {}
                    }
                }
            }
        }
    }

    fn unseen(&mut self, channel: Channel, bytes: &Bytes) -> Bytes {
        let skip = match channel {
            Channel::Stdout => &mut self.skip.stdout,
            Channel::Stderr => &mut self.skip.stderr,
        };
        let skipped = usize::try_from(*skip).unwrap_or(usize::MAX).min(bytes.len());
        *skip -= skipped as u64;
        bytes.slice(skipped..)
    }
}

#[async_trait]
impl Guest for MemoryGuest {
    fn is_connected(&self) -> bool {
        !self.link.is_cancelled()
    }

    async fn ping(&self) -> Result<(), Failure> {
        self.alive()
    }

    async fn exec(&self, spec: &ExecSpec) -> Result<ExecSession, Failure> {
        self.alive()?;
        let (ours, input): (_, Stdin) = if spec.stdin || spec.tty.is_some() {
            let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
            (Some(ours), Box::new(theirs))
        } else {
            (None, Box::new(tokio::io::empty()))
        };
        let running = Arc::new(Running::new(spec.tty, ours));
        locked(&self.runtime.execs).insert(spec.id.clone(), running.clone());
        let detached = spec.detached;
        let (runtime, program, spec) = (self.runtime.clone(), running.clone(), spec.clone());
        locked(&self.runtime.programs)
            .spawn(async move { run(&runtime, &program, &spec, input).await });
        let session = self.follow(running, Offsets::default());
        Ok(if detached { only_the_exit(session) } else { session })
    }

    async fn attach(&self, id: &ExecId, seen: Offsets) -> Result<ExecSession, Failure> {
        self.alive()?;
        Ok(self.follow(self.find(id)?, seen))
    }

    async fn wait(&self, id: &ExecId) -> Result<ExecSession, Failure> {
        self.alive()?;
        Ok(only_the_exit(self.follow(self.find(id)?, Offsets::default())))
    }

    async fn watch(&self, id: &ExecId, from: Offsets) -> Result<WatchStream, Failure> {
        self.alive()?;
        let running = self.find(id)?;
        let past = from.stdout > running.written(Channel::Stdout)
            || from.stderr > running.written(Channel::Stderr);
        if past {
            return Err(Failure::invalid_field("offset", "it is past the end of the output"));
        }
        let mut next = from;
        let events = self.follow(running, from).events.map_ok(move |event| event.placed(&mut next));
        Ok(events.boxed())
    }

    async fn send_stdin(
        &self,
        id: &ExecId,
        mut body: ByteStream,
        close: bool,
    ) -> Result<u64, Failure> {
        self.alive()?;
        let running = self.find_running(id)?;
        let mut input = running.input.lock().await;
        let closed = || Failure::new(Reason::StdinClosed, format!("exec takes no input: {id}"));
        let mut sent = 0;
        let pipe = input.as_mut().ok_or_else(closed)?;
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            pipe.write_all(&chunk).await.map_err(|_| closed())?;
            sent += chunk.len() as u64;
        }
        if close {
            input.take();
        }
        Ok(sent)
    }

    async fn signal(&self, id: &ExecId, signal: i32) -> Result<(), Failure> {
        self.alive()?;
        self.find_running(id)?.signal.send_replace(signal);
        Ok(())
    }

    async fn resize(&self, id: &ExecId, size: TtySize) -> Result<(), Failure> {
        self.alive()?;
        let running = self.find_running(id)?;
        let mut tty = locked(&running.tty);
        if tty.is_none() {
            return Err(Failure::new(
                Reason::ExecNotRunning,
                format!("exec has no terminal: {id}"),
            ));
        }
        *tty = Some(size);
        Ok(())
    }

    async fn execs(&self) -> Result<Vec<ExecStatus>, Failure> {
        self.alive()?;
        let status = |(id, running): (&ExecId, &Arc<Running>)| {
            let exit = locked(&running.log).exit.clone();
            let written = Offsets {
                stdout: running.written(Channel::Stdout),
                stderr: running.written(Channel::Stderr),
            };
            ExecStatus { id: id.clone(), exit, oldest: Offsets::default(), written }
        };
        Ok(locked(&self.runtime.execs).iter().map(status).collect())
    }

    async fn cancel(&self, id: &ExecId) -> Result<(), Failure> {
        self.alive()?;
        if let Some(running) = self.runtime.running(id) {
            running.cancel.cancel();
        }
        Ok(())
    }

    async fn release(&self, id: &ExecId) -> Result<(), Failure> {
        self.alive()?;
        locked(&self.runtime.execs).remove(id);
        Ok(())
    }

    async fn fs(&self, op: &FileOp) -> Result<FileReply, Failure> {
        self.alive()?;
        self.runtime.files().perform(op)
    }

    async fn read(
        &self,
        path: &SandboxPath,
        range: ByteRange,
    ) -> Result<(FileInfo, ByteStream), Failure> {
        self.alive()?;
        let (info, bytes) = self.runtime.files().read(path.as_str())?;
        let start = usize::try_from(range.offset).unwrap_or(usize::MAX).min(bytes.len());
        let length =
            range.length.map_or(usize::MAX, |length| usize::try_from(length).unwrap_or(usize::MAX));
        let bytes = bytes.slice(start..start.saturating_add(length).min(bytes.len()));
        let chunks: Vec<_> =
            bytes.chunks(READ_CHUNK).map(|chunk| Ok(bytes.slice_ref(chunk))).collect();
        Ok((info, stream::iter(chunks).boxed()))
    }

    async fn write(
        &self,
        path: &SandboxPath,
        options: WriteOptions,
        body: ByteStream,
    ) -> Result<Stored, Failure> {
        let chunks: Vec<Bytes> = body.try_collect().await?;
        self.alive()?;
        self.runtime.files().write(path, &options, Bytes::from(chunks.concat()))
    }

    async fn pack(&self, path: &SandboxPath) -> Result<ByteStream, Failure> {
        self.alive()?;
        let tree = self.runtime.files().tree(path.as_str())?;
        let mut chunks: Vec<Result<Bytes, Failure>> = tree
            .into_iter()
            .map(|(path, contents, mode)| {
                Ok(archive::encode(&path, mode, contents.as_deref()).into())
            })
            .collect();
        chunks.push(Ok(Bytes::copy_from_slice(&archive::end())));
        Ok(stream::iter(chunks).boxed())
    }

    async fn watch_files(
        &self,
        path: &SandboxPath,
        recursive: bool,
    ) -> Result<BoxStream<'static, Result<FileEvent, Failure>>, Failure> {
        self.alive()?;
        let (base, events) = self.runtime.files().watch(path.as_str())?;
        let link = self.link.clone();
        let events = stream::unfold(events, |mut events| async {
            let event = events.recv().await.ok()?;
            Some((event, events))
        });
        let wanted = move |event: &FileEvent| {
            let rest = event.path.strip_prefix(&base).map(|rest| rest.trim_start_matches('/'));
            std::future::ready(rest.is_some_and(|rest| recursive || !rest.contains('/')))
        };
        let cut = async move { link.cancelled().await };
        Ok(events.filter(wanted).map(Ok).take_until(cut).boxed())
    }

    async fn unpack(
        &self,
        path: &SandboxPath,
        limits: ArchiveLimits,
        body: ByteStream,
    ) -> Result<Unpacked, Failure> {
        let chunks: Vec<Bytes> = body.try_collect().await?;
        self.alive()?;
        self.runtime.files().unpack(path.as_str(), limits, &chunks.concat())
    }

    async fn dial(&self, port: u16) -> Result<Box<dyn Duplex>, Failure> {
        self.alive()?;
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let listener = locked(&self.runtime.listeners).get(&port).cloned();
        let closed = || {
            let message = format!("nothing listens on port {port}");
            Failure::new(Reason::PortClosed, message).detail("port", i64::from(port))
        };
        match listener {
            Some(listener) => listener.send(theirs).await.map_err(|_| closed())?,
            None if port == CLOSED_PORT => return Err(closed()),
            None => {
                locked(&self.runtime.programs).spawn(async move {
                    let (mut read, mut write) = tokio::io::split(theirs);
                    // Ends when either side closes; an echo has nobody to tell about it.
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    let _ = write.shutdown().await;
                });
            }
        }
        Ok(Box::new(ours))
    }

    async fn console(&self, lines: u32) -> Result<Vec<String>, Failure> {
        self.alive()?;
        let mut text = Vec::new();
        for running in locked(&self.runtime.execs).values() {
            for (_, bytes) in &locked(&running.log).chunks {
                text.extend_from_slice(bytes);
            }
        }
        let text = String::from_utf8_lossy(&text);
        let all: Vec<String> = text.lines().map(str::to_owned).collect();
        let first = all.len().saturating_sub(lines as usize);
        Ok(all[first..].to_vec())
    }
}
