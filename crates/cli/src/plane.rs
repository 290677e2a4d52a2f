//! Where a command's sandbox lives: at a server, or in this process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::client::{Client, ClientOptions, ExecChunk};
use api::{ExecExit, ExecRequest, SpawnRequest, Usage};
use engine::{Caller, Engine, ExecEvent, NewExec, NewSandbox, RunningExec};
use futures::stream::{BoxStream, StreamExt as _};
use model::{ExecProgram, Outcome, SandboxId, TtySize, format_duration};
use secrecy::ExposeSecret as _;

use crate::args::{DEFAULT_SERVER, Global, Machine, Program};
use crate::config::Config;
use crate::failed::Failed;
use crate::private::{self, PrivateDir};
use crate::talk::{self, Talk};
use crate::terminal::Wish;
use crate::{compose, data_dir};

/// Whether a server is there is asked for on this machine only, where the answer is at once.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// A sandbox outlives the timeout of its only command by this, to be destroyed in order.
const TTL_MARGIN: Duration = Duration::from_mins(1);

/// What a command does next, and how it ends.
pub type Chunks = BoxStream<'static, Result<ExecChunk, Failed>>;

/// Where sandboxes are made.
#[derive(Debug)]
pub enum Plane {
    /// At a server.
    Server(Client),
    /// In this process; they end with it.
    Private(Private),
}

/// A control plane of this process alone.
pub struct Private {
    engine: Arc<Engine>,
    directory: PrivateDir,
}

impl std::fmt::Debug for Private {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Private").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// A client of the server that the command line names, or of the default one.
pub fn client(global: &Global) -> Result<Client, Failed> {
    let options = ClientOptions {
        server: global.server.clone().unwrap_or_else(|| DEFAULT_SERVER.to_owned()),
        api_key: global.api_key.as_ref().map(|key| key.expose_secret().to_owned()),
        user_id: None,
    };
    Ok(Client::new(&options)?)
}

/// Whether a server of ours answers at the default address.
pub async fn default_server_answers(global: &Global) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], api::paths::DEFAULT_PORT));
    let asked = async {
        // Most often nothing listens, and that is found without setting up a client.
        tokio::net::TcpStream::connect(address).await.ok()?;
        client(global).ok()?.health().await.ok()
    };
    tokio::time::timeout(PROBE_TIMEOUT, asked).await.ok().flatten().is_some()
}

impl Plane {
    /// A plane in this process, with its state below `data_dir`.
    ///
    /// The limits of the configuration's `max_*` keys bound callers of a server; here the caller
    /// is the operator, and a command may run as long as the longest-lived sandbox.
    pub async fn private(config: &Config, data_dir: &Path) -> Result<Self, Failed> {
        data_dir::make(data_dir)?;
        // What cannot be swept is reported by `serve`, which has a log; it is not this run's.
        drop(private::sweep(data_dir).await);
        let directory = PrivateDir::make(data_dir)?;
        let mut options = config.engine.clone();
        options.default_ttl = options.max_ttl;
        options.max_exec_timeout = Duration::ZERO;
        match compose::passing(options, directory.path()).await {
            Ok(engine) => Ok(Self::Private(Private { engine, directory })),
            Err(failed) => {
                directory.remove()?;
                Err(failed)
            }
        }
    }

    /// Makes a sandbox for one command and gives its id.
    pub async fn create(
        &self,
        machine: &Machine,
        timeout: Option<Duration>,
    ) -> Result<String, Failed> {
        let request = spawn_request(machine);
        match self {
            Self::Server(client) => {
                let ttl = timeout.map(|timeout| format_duration(timeout + TTL_MARGIN));
                Ok(client.spawn(&SpawnRequest { ttl, ..request }).await?.id)
            }
            Self::Private(Private { engine, .. }) => {
                let sandbox = NewSandbox {
                    image: request.image,
                    provider: request.provider,
                    memory_mib: request.memory_mb,
                    vcpus: request.vcpus,
                    ttl: None,
                    owner: None,
                    metadata: BTreeMap::new(),
                    idempotency_key: None,
                };
                Ok(engine.create(&Caller::default(), sandbox).await?.id.to_string())
            }
        }
    }

    /// Runs a command; it ends when nobody follows it any more.
    pub async fn exec(&self, id: &str, program: &Program) -> Result<Chunks, Failed> {
        match self {
            Self::Server(client) => {
                let request = ExecRequest { kill_on_disconnect: Some(true), ..request(program) };
                let chunks = client.exec_stream(id, &request).await?;
                Ok(chunks.map(|chunk| chunk.map_err(Failed::from)).boxed())
            }
            Self::Private(Private { engine, .. }) => {
                let exec = new_exec(program);
                let running = engine.exec(&Caller::default(), &private_id(id), exec).await?;
                Ok(private_chunks(running))
            }
        }
    }

    /// Runs a command that can be talked to; it ends when nobody follows it any more.
    pub async fn talk(
        &self,
        id: &str,
        (program, wish): (&Program, Wish),
    ) -> Result<(Talk, Chunks), Failed> {
        match self {
            Self::Server(client) => {
                let request = ExecRequest {
                    kill_on_disconnect: Some(true),
                    stdin: Some(wish.stdin),
                    tty: wish.tty,
                    ..request(program)
                };
                let (sender, receiver) = client.exec_socket(id, &request).await?;
                Ok((Talk::Socket(sender), talk::chunks(receiver)))
            }
            Self::Private(Private { engine, .. }) => {
                let id = private_id(id);
                let tty = wish.tty.map(|size| TtySize { cols: size.cols, rows: size.rows });
                let exec = NewExec { stdin: wish.stdin, tty, ..new_exec(program) };
                let running = engine.exec(&Caller::default(), &id, exec).await?;
                let talk = Talk::Engine(Arc::clone(engine), id, running.id.clone());
                Ok((talk, private_chunks(running)))
            }
        }
    }

    /// Destroys a sandbox; it is gone when this returns.
    pub async fn destroy(&self, id: &str) -> Result<(), Failed> {
        match self {
            Self::Server(client) => {
                client.destroy(id).await?;
            }
            Self::Private(Private { engine, .. }) => {
                engine.delete(&Caller::default(), &private_id(id), true).await?;
            }
        }
        Ok(())
    }

    /// Ends what belongs to this process, and leaves nothing of it behind.
    pub async fn close(self) -> Result<(), Failed> {
        match self {
            Self::Server(_) => Ok(()),
            Self::Private(Private { engine, directory }) => {
                engine.shutdown().await;
                drop(engine);
                directory.remove()
            }
        }
    }
}

/// A command as a server is asked for it.
pub fn request(program: &Program) -> ExecRequest {
    let mut words = program.command.iter().cloned();
    let (command, args) = if program.shell {
        (program.command.join(" "), Vec::new())
    } else {
        (words.next().unwrap_or_default(), words.collect())
    };
    ExecRequest {
        command: Some(command),
        args: Some(args),
        mode: Some(if program.shell { "shell" } else { "argv" }.to_owned()),
        env: Some(program.env.iter().cloned().collect()),
        workdir: program.workdir.clone(),
        timeout: program.timeout.map(format_duration),
        user: program.user.clone(),
        ..ExecRequest::default()
    }
}

/// A command as the engine of this process is asked for it.
fn new_exec(program: &Program) -> NewExec {
    let what = if program.shell {
        ExecProgram::Shell(program.command.join(" "))
    } else {
        ExecProgram::Argv(program.command.clone())
    };
    NewExec {
        env: program.env.clone(),
        workdir: program.workdir.clone(),
        timeout: program.timeout,
        user: program.user.clone(),
        ..NewExec::new(what)
    }
}

fn private_chunks(running: RunningExec) -> Chunks {
    let exec_id = running.id.to_string();
    running.events.map(move |event| Ok(chunk(event?, &exec_id))).boxed()
}

/// A sandbox with the machine that was asked for.
pub fn spawn_request(machine: &Machine) -> SpawnRequest {
    SpawnRequest {
        image: machine.image.clone(),
        provider: machine.provider.clone(),
        memory_mb: machine.memory,
        vcpus: machine.vcpus,
        ..SpawnRequest::default()
    }
}

fn private_id(id: &str) -> SandboxId {
    id.parse().expect("the id of a private sandbox comes from the engine")
}

fn chunk(event: ExecEvent, exec_id: &str) -> ExecChunk {
    match event {
        ExecEvent::Stdout(bytes) => ExecChunk::Stdout(bytes),
        ExecEvent::Stderr(bytes) => ExecChunk::Stderr(bytes),
        ExecEvent::Exit(exit) => ExecChunk::Exit(Box::new(ExecExit {
            data: String::new(),
            outcome: exit.outcome.word().to_owned(),
            exit_code: exit.outcome.exit_code(),
            signal: exit.outcome.signal(),
            duration: format_duration(exit.duration),
            truncated: false,
            stdout_bytes: exit.stdout_bytes,
            stderr_bytes: exit.stderr_bytes,
            usage: Usage {
                cpu_ms: u64::try_from(exit.usage.cpu.as_millis()).unwrap_or(u64::MAX),
                memory_peak_bytes: exit.usage.memory_peak_bytes,
            },
            exec_id: exec_id.to_owned(),
            message: match exit.outcome {
                Outcome::StartFailed(_, message) => Some(message),
                Outcome::Exited(_)
                | Outcome::Signaled(_)
                | Outcome::TimedOut
                | Outcome::OomKilled
                | Outcome::Canceled
                | Outcome::SandboxLost => None,
            },
            error: None,
        })),
    }
}
