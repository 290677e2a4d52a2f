//! A kill domain: everything that one exec started, so that all of it can be ended. A child
//! cgroup where the agent was given one to make them in, else the descendants of a keeper: a
//! parent that every orphan comes back to. It decides nothing; the supervisor says when.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::agent::Agent;
use crate::ended::{Reaped, Word, read_word};
use crate::sys::{self, Entry};

/// Bytes of a `cgroup.procs` file that are read in one look; a larger file is seen in parts.
const PROCS_BYTES: usize = 64 * 1024;

/// How often processes are looked for in one kill, when the kernel does not do it at once.
const KILL_LOOKS: usize = 8;

/// Everything that one exec started.
#[derive(Debug)]
pub enum Domain {
    /// A child cgroup that the main process joins before it runs.
    Cgroup { agent: Arc<Agent>, name: String },
    /// The descendants of a process that ends with the last of them.
    Kept(Keeper),
}

/// A keeper, as the agent sees it.
#[derive(Debug)]
pub struct Keeper {
    pub pid: i32,
    /// The main process, once it has said so.
    main: Option<i32>,
    /// Where it says how the main process ended.
    pub ended: Arc<OwnedFd>,
    /// It has ended, so no process of the domain is left.
    pub gone: bool,
}

impl Domain {
    /// A domain for the exec, and how its main process comes into it.
    pub fn prepare(agent: &Arc<Agent>, exec_id: &str) -> Result<(Self, Entry), Errno> {
        let Some(parent) = &agent.kill_cgroup else {
            let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
            let (ended, says_ended) = socketpair(AddressFamily::UNIX, kind, flags, None)?;
            rustix::io::ioctl_fionbio(&ended, true)?;
            let keeper = Keeper { pid: 0, main: None, ended: Arc::new(ended), gone: false };
            return Ok((Self::Kept(keeper), Entry::Keeper(says_ended)));
        };
        // The prefix keeps an exec's id from being the name of a control file.
        let name = format!("exec-{exec_id}");
        match rustix::fs::mkdirat(parent, &name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        // In version 1 a process that enters alone is fast; elsewhere there is no such file.
        let procs = open(parent, &format!("{name}/tasks"), OFlags::WRONLY)
            .or_else(|_| open(parent, &format!("{name}/cgroup.procs"), OFlags::WRONLY));
        let domain = Self::Cgroup { agent: Arc::clone(agent), name };
        match procs {
            Ok(procs) => Ok((domain, Entry::Cgroup(procs))),
            Err(error) => {
                domain.remove_if_empty();
                Err(error)
            }
        }
    }

    /// Fills in the id of the process that was started: the main one, or its keeper.
    pub fn with_process(self, pid: i32) -> Self {
        match self {
            Self::Cgroup { .. } => self,
            Self::Kept(keeper) => Self::Kept(Keeper { pid, ..keeper }),
        }
    }

    /// Asks every process to end.
    pub fn terminate(&self) {
        for pid in self.members() {
            let _ = sys::kill(pid, libc::SIGTERM);
            // A stopped process acts on TERM only once it continues.
            let _ = sys::kill(pid, libc::SIGCONT);
        }
    }

    /// Ends every process.
    pub fn kill(&self) {
        if let Self::Cgroup { agent, name } = self
            && let Some(parent) = &agent.kill_cgroup
            && let Ok(file) = open(parent, &format!("{name}/cgroup.kill"), OFlags::WRONLY)
            && rustix::io::write(&file, b"1").is_ok()
        {
            return;
        }
        if let Self::Cgroup { agent, name } = self
            && let Some(parent) = &agent.kill_cgroup
            && let Ok(file) = open(parent, &format!("{name}/pids.max"), OFlags::WRONLY)
        {
            // With no process allowed, none is born faster than they are ended.
            let _ = rustix::io::write(&file, b"0");
        }
        // A process that was born during the look is found by the next one.
        for _ in 0..KILL_LOOKS {
            let members = self.members();
            if members.is_empty() {
                break;
            }
            for pid in members {
                let _ = sys::kill(pid, libc::SIGKILL);
            }
        }
    }

    /// Whether no process is left; if so, nothing of the domain is.
    pub fn remove_if_empty(&self) -> bool {
        match self {
            Self::Cgroup { agent, name } => {
                let Some(parent) = &agent.kill_cgroup else { return true };
                // The kernel refuses to remove a cgroup that holds a process.
                let removed = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
                matches!(removed, Ok(()) | Err(Errno::NOENT))
            }
            Self::Kept(keeper) => keeper.gone,
        }
    }

    fn members(&self) -> Vec<i32> {
        match self {
            Self::Cgroup { agent, name } => agent
                .kill_cgroup
                .as_ref()
                .and_then(|parent| {
                    open(parent, &format!("{name}/cgroup.procs"), OFlags::RDONLY).ok()
                })
                .map(|file| read_pids(&file))
                .unwrap_or_default(),
            Self::Kept(keeper) if keeper.gone => Vec::new(),
            Self::Kept(keeper) => descendants(keeper.pid),
        }
    }
}

impl Keeper {
    /// Hears what it has to say; returns the end of the main process once.
    pub fn hear(&mut self) -> Option<Reaped> {
        loop {
            match read_word(self.ended.as_fd())? {
                Word::Main(pid) => self.main = Some(pid),
                Word::Ended(reaped) => {
                    self.main = None;
                    // From now on the number may be another's.
                    let _ = rustix::io::write(&*self.ended, &[1]);
                    return Some(reaped);
                }
            }
        }
    }

    /// The main process, as long as its number cannot be another's.
    pub fn main(&self) -> Option<i32> {
        self.main.filter(|_| !self.gone)
    }
}

fn open(parent: &OwnedFd, path: &str, access: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(parent, path, access | OFlags::CLOEXEC, Mode::empty())
}

fn read_pids(file: impl AsFd) -> Vec<i32> {
    let mut bytes = vec![0; PROCS_BYTES];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::io::read(&file, &mut bytes[filled..]) {
            Ok(0) | Err(_) => break,
            Ok(count) => filled += count,
        }
    }
    let whole = bytes[..filled].iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    String::from_utf8_lossy(&bytes[..whole]).lines().filter_map(|pid| pid.parse().ok()).collect()
}

/// The living processes that descend from `ancestor`, without it.
fn descendants(ancestor: i32) -> Vec<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // The command's name is in parentheses and may hold any character; fields follow it.
        let Some((_, fields)) = stat.rsplit_once(')') else { continue };
        let mut fields = fields.split_ascii_whitespace();
        let (state, parent) = (fields.next(), fields.next().and_then(|text| text.parse().ok()));
        if let (Some(parent), false) = (parent, matches!(state, Some("Z" | "X"))) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut members = children.remove(&ancestor).unwrap_or_default();
    let mut at = 0;
    while let Some(member) = members.get(at) {
        members.extend(children.remove(member).unwrap_or_default());
        at += 1;
    }
    members
}
