//! The provider contract over the jail helper.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jail::wire::{Answer, Call, Entry, ImageSpec, ListFrom};
use model::{Failure, Reason, SandboxName, Stats};
use provider::{
    AgentGuest, Capability, Guest, Provider, RuntimeEntry, RuntimeHandle, RuntimeSpec,
    RuntimeStatus,
};
use rustix::fs::{Mode, OFlags};
use tokio::net::UnixStream;

use crate::create::{create_spec, target};
use crate::helper::{Helper, Setup};
use crate::{NativeOptions, handle, image};

/// The provider's name.
pub const NAME: &str = "native";

const CAPABILITIES: [Capability; 11] = [
    Capability::Spawn,
    Capability::Exec,
    Capability::ExecStream,
    Capability::Files,
    Capability::Console,
    Capability::Health,
    Capability::RuntimeInventory,
    Capability::Ports,
    Capability::Usage,
    Capability::SurvivesRestart,
    Capability::Namespaces,
];

/// Random characters of an instance's name: enough that two on one host never share it.
const INSTANCE_CHARS: usize = 16;

/// Sandboxes from Linux namespaces.
#[derive(Debug)]
pub struct NativeProvider {
    state_dir: PathBuf,
    host: ImageSpec,
    helper: Helper,
}

impl NativeProvider {
    /// Prepares the state directory and the image `host`. The helper starts with the first
    /// request, so that a host that cannot run sandboxes still gets a server that says why.
    pub async fn start(options: NativeOptions) -> Result<Self, Failure> {
        let NativeOptions { state_dir, ephemeral } = options;
        let prepared = tokio::task::spawn_blocking(move || -> io::Result<_> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&state_dir)?;
            let state_dir = fs::canonicalize(state_dir)?;
            let instance = instance(&state_dir)?;
            let host = image::prepare(&state_dir)?;
            Ok((state_dir, instance, host))
        });
        let (state_dir, instance, host) =
            prepared.await.map_err(Failure::internal)?.map_err(unusable)?;
        let setup = Setup { instance, state_dir: state_dir.clone(), ephemeral };
        let native = Self { state_dir, host, helper: Helper::new(setup) };
        native.remove_old_images().await;
        Ok(native)
    }

    /// Frees the skeletons of images that no sandbox uses. What cannot be removed costs a few
    /// kilobytes and nothing else.
    async fn remove_old_images(&self) {
        let Ok(entries) = self.list().await else { return };
        if entries.is_empty()
            && let Err(error) = image::remove_others(&self.state_dir, &self.host)
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "kept an unused image");
        }
    }
}

/// The instance's name: drawn once, then kept in the state directory.
fn instance(state_dir: &Path) -> io::Result<String> {
    let path = state_dir.join("instance");
    match fs::read_to_string(&path) {
        Ok(text) => return Ok(text.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut name = String::new();
    while name.len() < INSTANCE_CHARS {
        let digit = rand::random::<u32>() % 36;
        name.push(char::from_digit(digit, 36).expect("the digit is below the radix"));
    }
    let unfinished = state_dir.join("instance.unfinished");
    fs::write(&unfinished, &name)?;
    fs::rename(unfinished, path)?;
    Ok(name)
}

fn unusable(error: io::Error) -> Failure {
    let message = "the native provider's state directory cannot be used";
    Failure::new(Reason::ProviderUnavailable, message)
        .caused_by(error)
        .hint("choose another directory with --data-dir; it must belong to root and be writable")
}

fn unexpected() -> Failure {
    Failure::internal("the jail helper gave an answer to another question")
}

fn status(entry: &Entry) -> RuntimeStatus {
    if entry.alive && entry.socket.is_some() {
        RuntimeStatus::Running
    } else {
        RuntimeStatus::Broken
    }
}

#[async_trait]
impl Provider for NativeProvider {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> &[Capability] {
        &CAPABILITIES
    }

    fn facts(&self) -> Vec<(String, String)> {
        [
            ("type", "native"),
            ("images", image::HOST),
            ("isolation", "linux namespaces, seccomp, cgroups"),
            ("network", "loopback"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    async fn probe(&self) -> Result<(), Failure> {
        let Answer::Probed(probe) = self.helper.call(Call::Probe).await? else {
            return Err(unexpected());
        };
        let Some(first) = probe.missing.first() else { return Ok(()) };
        let problems: Vec<&str> = probe.missing.iter().map(|it| it.problem.as_str()).collect();
        let message = format!("the host cannot run native sandboxes: {}", problems.join("; "));
        Err(Failure::new(Reason::ProviderUnavailable, message).hint(first.fix.clone()))
    }

    async fn create(
        &self,
        name: &SandboxName,
        spec: &RuntimeSpec,
    ) -> Result<RuntimeHandle, Failure> {
        let spec = create_spec(name, spec, &self.host)?;
        let Answer::Created(created) = self.helper.call(Call::Create(spec)).await? else {
            return Err(unexpected());
        };
        handle::encode(&created.socket)
    }

    async fn inspect(&self, name: &SandboxName) -> Result<RuntimeStatus, Failure> {
        let answer = self.helper.call(Call::Inspect(target(name))).await?;
        let Answer::Inspected(entry) = answer else { return Err(unexpected()) };
        Ok(entry.as_ref().map_or(RuntimeStatus::Absent, status))
    }

    async fn list(&self) -> Result<Vec<RuntimeEntry>, Failure> {
        let mut runtimes = Vec::new();
        let mut after = None;
        loop {
            let answer = self.helper.call(Call::List(ListFrom { after })).await?;
            let Answer::Listed(listed) = answer else { return Err(unexpected()) };
            after = listed.entries.last().map(|entry| entry.target.clone());
            for entry in &listed.entries {
                // The helper only makes what this driver names, and that is a sandbox's id.
                let id = entry.target.sandbox.parse().map_err(Failure::internal)?;
                let name = SandboxName { id, incarnation: entry.target.incarnation };
                runtimes.push(RuntimeEntry { name, status: status(entry) });
            }
            if !listed.more || after.is_none() {
                return Ok(runtimes);
            }
        }
    }

    async fn destroy(&self, name: &SandboxName) -> Result<(), Failure> {
        let answer = self.helper.call(Call::Destroy(target(name))).await?;
        let Answer::Destroyed = answer else { return Err(unexpected()) };
        Ok(())
    }

    async fn connect(
        &self,
        _name: &SandboxName,
        handle: &RuntimeHandle,
    ) -> Result<Arc<dyn Guest>, Failure> {
        let socket = handle::decode(handle, &self.state_dir)?;
        let stream = connect(&socket).await.map_err(|error| {
            Failure::new(Reason::SandboxUnreachable, "the sandbox's agent cannot be reached")
                .caused_by(error)
        })?;
        let guest = AgentGuest::open(stream).await.map_err(|error| {
            Failure::new(Reason::SandboxUnreachable, "the sandbox's agent does not answer")
                .caused_by(error)
        })?;
        Ok(Arc::new(guest))
    }

    async fn usage(&self, name: &SandboxName) -> Result<Stats, Failure> {
        let answer = self.helper.call(Call::Usage(target(name))).await?;
        let Answer::Usage(usage) = answer else { return Err(unexpected()) };
        Ok(Stats {
            cpu: Duration::from_micros(usage.cpu_usec),
            memory_bytes: usage.memory_bytes,
            memory_limit_bytes: usage.memory_limit_bytes,
            pids: u32::try_from(usage.pids).unwrap_or(u32::MAX),
        })
    }

    async fn close(&self) {
        self.helper.close().await;
    }
}

/// Connects to a socket whose path may be longer than a socket address: by way of a descriptor
/// of its directory.
async fn connect(socket: &Path) -> io::Result<UnixStream> {
    let (Some(directory), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty())?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    UnixStream::connect(short).await
}
