//! A kill domain: everything that one exec started, so that all of it can be ended. A child
//! cgroup where the agent was given one to make them in, else the process tree. It decides
//! nothing; the supervisor says when.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::agent::Agent;
use crate::sys;

/// Bytes of a `cgroup.procs` file that are read in one look; a larger file is seen in parts.
const PROCS_BYTES: usize = 64 * 1024;

/// Everything that one exec started.
#[derive(Debug)]
pub enum Domain {
    /// A child cgroup that the main process joins before it runs.
    Cgroup { agent: Arc<Agent>, name: String },
    /// The main process's session and descendants.
    Tree { main: i32 },
}

impl Domain {
    /// A domain for the exec, and the file by which its main process joins it.
    pub fn prepare(agent: &Arc<Agent>, exec_id: &str) -> Result<(Self, Option<OwnedFd>), Errno> {
        let Some(parent) = &agent.kill_cgroup else {
            return Ok((Self::Tree { main: 0 }, None));
        };
        // The prefix keeps an exec's id from being the name of a control file.
        let name = format!("exec-{exec_id}");
        match rustix::fs::mkdirat(parent, &name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        let procs = open(parent, &format!("{name}/cgroup.procs"), OFlags::WRONLY);
        let domain = Self::Cgroup { agent: Arc::clone(agent), name };
        match procs {
            Ok(procs) => Ok((domain, Some(procs))),
            Err(error) => {
                domain.remove_if_empty();
                Err(error)
            }
        }
    }

    /// Fills in the main process's id.
    pub fn with_main(self, pid: i32) -> Self {
        match self {
            Self::Cgroup { .. } => self,
            Self::Tree { .. } => Self::Tree { main: pid },
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
        for pid in self.members() {
            let _ = sys::kill(pid, libc::SIGKILL);
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
            Self::Tree { .. } => self.members().is_empty(),
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
            Self::Tree { main } => tree(*main),
        }
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

/// The living processes that descend from `main` or are of its session.
fn tree(main: i32) -> Vec<i32> {
    let mut parents = BTreeMap::new();
    let mut members = vec![];
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // The command's name is in parentheses and may hold any character; fields follow it.
        let Some((_, fields)) = stat.rsplit_once(')') else { continue };
        let mut fields = fields.split_ascii_whitespace();
        let (state, parent) = (fields.next(), fields.next().and_then(|text| text.parse().ok()));
        let session = fields.nth(1).and_then(|text| text.parse::<i32>().ok());
        if matches!(state, Some("Z" | "X")) {
            continue;
        }
        parents.insert(pid, parent.unwrap_or(0));
        if session == Some(main) || pid == main {
            members.push(pid);
        }
    }
    let mut at = 0;
    while let Some(member) = members.get(at).copied() {
        at += 1;
        for (pid, parent) in &parents {
            if *parent == member && !members.contains(pid) {
                members.push(*pid);
            }
        }
    }
    members
}
