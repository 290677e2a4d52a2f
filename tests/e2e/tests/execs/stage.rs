//! What the tests of programs start from: a server with one sandbox, ways to hear a program to its
//! end, and a look at the sandbox's processes from the host.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use api::client::{ApiError, ExecStream};
use api::client::{Client, ClientError, ExecChunk, ExecMessage, ExecReceiver, ExecSender};
use api::event::Event;
use api::exec::{ExecExit, ExecRequest, ExecResult};
use api::execs::Exec;
use futures::StreamExt;
use testkit::{Server, ServerOptions};

use crate::support::{self, PATIENCE, World, eventually};

/// The name of an agent's process.
const AGENT: &str = "stacyvm-agent";

/// No program at all.
pub const NONE: [&str; 0] = [];

/// A server with a sandbox.
pub struct Stage {
    pub world: World,
    pub server: Server,
    pub client: Client,
    pub id: String,
}

impl Stage {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A server with more environment: configuration.
    pub async fn start_with(env: &[(&str, &str)]) -> Self {
        let world = World::new();
        let env = env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let options = ServerOptions { env, ..ServerOptions::default() };
        let server = Server::start_with(&world.data_dir(), options);
        let client = server.client();
        let id = support::spawn(&client).await.id;
        Self { world, server, client, id }
    }

    /// The same with the server killed and started again.
    pub fn restarted(self) -> Self {
        let server = self.server.kill_and_restart();
        let client = server.client();
        Self { server, client, ..self }
    }

    /// Destroys the sandbox, stops the server, and fails if anything is left.
    pub async fn end(self) {
        self.client.destroy(&self.id).await.expect("a sandbox is destroyed");
        drop(self.server);
        self.world.assert_no_traces();
    }

    pub async fn sh(&self, line: &str) -> ExecResult {
        support::sh(&self.client, &self.id, line).await
    }

    pub async fn output(&self, line: &str) -> String {
        support::output(&self.client, &self.id, line).await
    }

    /// Writes a file in `/workspace`.
    pub async fn write(&self, name: &str, text: &str) {
        let path = format!("/workspace/{name}");
        support::write(&self.client, &self.id, &path, text).await.expect("a file is written");
    }

    /// Whether a file is in `/workspace`.
    pub async fn has(&self, name: &str) -> bool {
        self.client.stat_file(&self.id, &format!("/workspace/{name}")).await.is_ok()
    }

    /// A call in one piece that is refused.
    pub async fn refused(&self, request: &ExecRequest) -> ApiError {
        let answer = within(self.client.exec(&self.id, request)).await;
        answer.expect_err("the call fails").api().expect("the server answers").clone()
    }

    pub async fn stream(&self, request: &ExecRequest) -> ExecStream {
        self.client.exec_stream(&self.id, request).await.expect("the program starts")
    }

    /// A program over a WebSocket, once it runs, with its id.
    pub async fn socket(&self, request: &ExecRequest) -> (ExecSender, ExecReceiver, String) {
        let socket = self.client.exec_socket(&self.id, request).await;
        let (sender, mut receiver) = socket.expect("the socket opens");
        match within(receiver.next()).await {
            Some(Ok(ExecMessage::Started(exec))) => (sender, receiver, exec),
            other => panic!("not started: {other:?}"),
        }
    }

    pub async fn background(&self, request: &ExecRequest) -> String {
        let exec = self.client.exec_background(&self.id, request, None).await;
        exec.expect("the program starts").exec_id
    }

    /// The output of a program from its first byte to its end.
    pub async fn told(&self, exec: &str) -> Told {
        self.told_from(exec, 0).await
    }

    /// The output of a program from a byte of standard output on.
    pub async fn told_from(&self, exec: &str, offset: u64) -> Told {
        let stream = self.client.exec_output((&self.id, exec), (offset, 0)).await;
        told(stream.expect("the output is kept")).await
    }

    pub async fn record(&self, exec: &str) -> Exec {
        self.client.exec_record(&self.id, exec).await.expect("the program is known")
    }

    /// The row of a program once it has ended.
    pub async fn ended(&self, exec: &str) -> Exec {
        let over = async || self.record(exec).await.state == "ended";
        eventually("the program ends", over).await;
        self.record(exec).await
    }

    /// Waits until a program has written a text to standard output.
    pub async fn wrote(&self, exec: &str, text: &str) {
        let stream = self.client.exec_output((&self.id, exec), (0, 0)).await;
        until(&mut stream.expect("the output is kept"), text).await;
    }

    /// The event about the end of a program.
    pub async fn end_event(&self, exec: &str) -> Event {
        let mut events = self.client.events(Some(0)).await.expect("events are sent");
        let end = async {
            loop {
                let event = events.next().await.expect("events go on").expect("events are sent");
                let mine = event.data.get("exec_id").is_some_and(|id| id == exec);
                if mine && event.kind != "exec.started" {
                    return event;
                }
            }
        };
        within(end).await
    }

    /// The processes of the sandbox as the host sees them, by number.
    pub fn processes(&self) -> BTreeMap<u32, String> {
        processes(&self.id)
    }

    /// The names of the sandbox's processes besides its agent, however they were started.
    pub fn programs(&self) -> Vec<String> {
        self.processes().into_values().filter(|name| name != AGENT).collect()
    }

    /// Whether a process of that name is in the sandbox.
    pub fn runs(&self, name: &str) -> bool {
        self.programs().iter().any(|it| it == name)
    }

    /// What the server and the sandbox's agent hold in memory, in KiB.
    pub fn resident_kib(&self) -> (u64, u64) {
        let processes = self.processes().into_iter();
        let agents = processes.filter(|(_, name)| name == AGENT);
        let agents: Vec<_> = agents.filter_map(|(pid, _)| resident_kib(pid)).collect();
        assert!(!agents.is_empty(), "the agent is among the sandbox's processes");
        let server = resident_kib(self.server.pid()).expect("the server runs");
        (server, agents.into_iter().sum())
    }
}

/// The living processes below the cgroup of a sandbox.
pub fn processes(sandbox: &str) -> BTreeMap<u32, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").expect("there is a /proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let read = |name| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let is_zombie = read("stat").rsplit(')').next().is_some_and(|it| it.starts_with(" Z"));
        if read("cgroup").contains(sandbox) && !is_zombie {
            found.insert(pid, read("comm").trim().to_owned());
        }
    }
    found
}

fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// All that was heard of a program.
#[derive(Debug)]
pub struct Told {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// Bytes that were said to be missing.
    pub lost: u64,
    pub exit: ExecExit,
}

impl Told {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Hears a streamed program to its end, and that nothing comes after it.
pub async fn told(stream: ExecStream) -> Told {
    try_told(stream).await.expect("the stream is whole")
}

/// Hears a streamed program to its end, or to where the stream breaks.
pub async fn try_told(mut stream: ExecStream) -> Result<Told, ClientError> {
    let (mut stdout, mut stderr, mut lost) = (Vec::new(), Vec::new(), 0);
    let exit = loop {
        match within(stream.next()).await.expect("a stream ends with an exit or an error")? {
            ExecChunk::Stdout(bytes) => stdout.extend_from_slice(&bytes),
            ExecChunk::Stderr(bytes) => stderr.extend_from_slice(&bytes),
            ExecChunk::Lost(bytes) => lost += bytes,
            ExecChunk::Exit(exit) => break *exit,
        }
    };
    assert!(within(stream.next()).await.is_none(), "something comes after the exit");
    Ok(Told { stdout, stderr, lost, exit })
}

/// Hears a program over a WebSocket to its end, and that nothing comes after it.
pub async fn heard(receiver: ExecReceiver) -> Told {
    told(as_stream(receiver)).await
}

/// Reads standard output until a text is in it; all that was read.
pub async fn until(stream: &mut ExecStream, text: &str) -> String {
    let mut seen = Vec::new();
    loop {
        let next = tokio::time::timeout(PATIENCE, stream.next()).await;
        match next {
            Ok(Some(Ok(ExecChunk::Stdout(bytes)))) => seen.extend_from_slice(&bytes),
            other => panic!("no {text:?} in {:?}: {other:?}", String::from_utf8_lossy(&seen)),
        }
        let read = String::from_utf8_lossy(&seen);
        if read.contains(text) {
            return read.into_owned();
        }
    }
}

/// What a socket says from now on, as a stream says it.
pub fn as_stream(receiver: ExecReceiver) -> ExecStream {
    let chunks = futures::stream::unfold(receiver, |mut receiver| async {
        let chunk = receiver.next().await?.map(|message| match message {
            ExecMessage::Stdout(bytes) => ExecChunk::Stdout(bytes),
            ExecMessage::Stderr(bytes) => ExecChunk::Stderr(bytes),
            ExecMessage::Exit(exit) => ExecChunk::Exit(exit),
            other @ (ExecMessage::Started(_) | ExecMessage::Refused(_)) => panic!("{other:?}"),
        });
        Some((chunk, receiver))
    });
    chunks.boxed()
}

/// The answer, if it comes in time.
pub async fn within<F: Future>(answer: F) -> F::Output {
    let is_long = std::env::var_os("STACYVM_TEST_LONG").is_some();
    let silence = if is_long { Duration::from_mins(4) } else { Duration::ZERO };
    tokio::time::timeout(PATIENCE + silence, answer).await.expect("an answer comes in time")
}

/// A line for the shell.
pub fn shell(line: &str) -> ExecRequest {
    ExecRequest { command: Some(line.into()), ..ExecRequest::default() }
}

/// A line for the shell with an end.
pub fn timed(line: &str, timeout: &str) -> ExecRequest {
    ExecRequest { timeout: Some(timeout.into()), ..shell(line) }
}

/// A line for the shell whose input is sent later.
pub fn fed(line: &str) -> ExecRequest {
    ExecRequest { stdin: Some(true), ..shell(line) }
}

/// What `seq 1 LAST` prints, with this end of each line.
pub fn numbers(last: u32, end: &str) -> String {
    (1..=last).flat_map(|number| [number.to_string(), end.to_owned()]).collect()
}
