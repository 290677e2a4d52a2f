//! Starts the real agent for one test, and ends it with all that it started.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use proto::AgentConfig;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::client::Client;

/// How an agent is to be started.
pub struct Options {
    pub uid: u32,
    pub max_execs: u32,
    pub kill_cgroup: Option<PathBuf>,
    pub oom_counter: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            max_execs: 128,
            kill_cgroup: None,
            oom_counter: None,
        }
    }
}

/// A running agent.
pub struct Agent {
    process: Child,
    socket: PathBuf,
    pub dir: TempDir,
}

impl Agent {
    pub fn start() -> Self {
        Self::with(&Options::default())
    }

    pub fn with(options: &Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let socket = dir.path().join("agent.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let config = AgentConfig {
            listen_fd: 3,
            kill_cgroup_fd: options.kill_cgroup.as_ref().map(|_| 4),
            oom_fd: options.oom_counter.as_ref().map(|_| 5),
            uid: options.uid,
            gid: options.uid,
            env: vec![("PATH".into(), "/usr/bin:/bin".into()), ("BASE".into(), "yes".into())],
            workdir: "/".into(),
            max_execs: options.max_execs,
        };
        let open = |path: &Option<PathBuf>| {
            let file = path.as_deref().unwrap_or(Path::new("/dev/null"));
            Stdio::from(OwnedFd::from(fs::File::open(file).unwrap()))
        };
        // A shell moves the descriptors to the numbers that the configuration names.
        let process = Command::new("/bin/sh")
            .arg("-c")
            .arg("exec \"$0\" \"$1\" 3<&0 4<&1 5<&2 </dev/null >/dev/null 2>/dev/null")
            .arg(env!("CARGO_BIN_EXE_stacyvm-agent"))
            .arg(serde_json::to_string(&config).unwrap())
            .env("SECRET_OF_THE_PLANE", "never in a job")
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(open(&options.kill_cgroup))
            .stderr(open(&options.oom_counter))
            .spawn()
            .unwrap();
        Self { process, socket, dir }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn connect(&self) -> Client {
        Client::connect(&self.socket)
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// The resident memory of the agent alone, in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    /// The most that it was so far, in KiB.
    pub fn peak_kib(&self) -> u64 {
        self.memory_kib("VmHWM:")
    }

    fn memory_kib(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Orphans come back to the agent, so killing its children until it has none ends all.
        while let Some(children) = living_children(self.process.id()) {
            for child in children {
                let _ = kill_process(Pid::from_raw(child).unwrap(), Signal::KILL);
            }
            std::thread::yield_now();
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The children of a process that are not dead yet; none when there are none.
fn living_children(parent: u32) -> Option<Vec<i32>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((_, rest)) = stat.rsplit_once(')') else { continue };
        let mut fields = rest.split_ascii_whitespace();
        let (state, ppid) = (fields.next(), fields.next());
        if ppid == Some(&parent.to_string()) && state != Some("Z") {
            children.push(entry.file_name().to_str().unwrap().parse().unwrap());
        }
    }
    (!children.is_empty()).then_some(children)
}
