//! What all of the agent's threads share. No behaviour of its own; `connection` routes requests
//! to the parts that are here.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proto::AgentConfig;
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::console::Console;
use crate::dial::DIALS_MAX;
use crate::exec::{Registry, WATCHERS_MAX};
use crate::files::{FILE_TASKS_MAX, WATCHES_MAX};
use crate::supervisor::Supervisor;
use crate::sys::Identity;
use crate::task::Slots;

/// The agent.
#[derive(Debug)]
pub struct Agent {
    pub(crate) config: AgentConfig,
    /// Drawn at start; a different one after a reconnect means a different agent.
    pub(crate) number: u64,
    /// Files are resolved beneath it.
    pub(crate) root: OwnedFd,
    /// Whom the agent runs as.
    pub(crate) own: Identity,
    /// Whom jobs and file calls run as, when that is not the agent's own user.
    pub(crate) identity: Option<Identity>,
    pub(crate) kill_cgroup: Option<OwnedFd>,
    pub(crate) oom_counter: Option<OwnedFd>,
    pub(crate) execs: Registry,
    pub(crate) console: Console,
    pub(crate) supervisor: Supervisor,
    pub(crate) file_tasks: Arc<Slots>,
    pub(crate) watches: Arc<Slots>,
    pub(crate) dials: Arc<Slots>,
    pub(crate) watchers: Arc<Slots>,
    links: AtomicU64,
}

/// What an agent is given besides its configuration.
#[derive(Debug)]
pub struct Holdings {
    /// Files are resolved beneath this directory.
    pub root: OwnedFd,
    /// See [`AgentConfig::kill_cgroup_fd`].
    pub kill_cgroup: Option<OwnedFd>,
    /// See [`AgentConfig::oom_fd`].
    pub oom_counter: Option<OwnedFd>,
}

impl Agent {
    /// An agent that runs and serves nothing yet.
    ///
    /// # Errors
    /// When the kernel gives no randomness or no descriptor.
    pub fn new(config: AgentConfig, holdings: Holdings) -> Result<Arc<Self>, Errno> {
        let mut number = [0; 8];
        getrandom(&mut number, GetRandomFlags::empty())?;
        let uid = rustix::process::geteuid().as_raw();
        let own = Identity { uid, gid: rustix::process::getegid().as_raw() };
        let identity = (config.uid != uid).then_some(Identity { uid: config.uid, gid: config.gid });
        Ok(Arc::new(Self {
            number: u64::from_ne_bytes(number),
            root: holdings.root,
            own,
            identity,
            kill_cgroup: holdings.kill_cgroup,
            oom_counter: holdings.oom_counter,
            execs: Registry::new(config.max_execs),
            console: Console::new(),
            supervisor: Supervisor::new()?,
            file_tasks: Slots::new(FILE_TASKS_MAX),
            watches: Slots::new(WATCHES_MAX),
            dials: Slots::new(DIALS_MAX),
            watchers: Slots::new(WATCHERS_MAX),
            links: AtomicU64::new(1),
            config,
        }))
    }

    pub(crate) fn next_link(&self) -> u64 {
        self.links.fetch_add(1, Ordering::Relaxed)
    }
}
