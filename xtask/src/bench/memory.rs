//! What the server and an idle sandbox keep in memory.
//!
//! Proportional set size (PSS) counts a page shared by n processes as a n-th for each, so sums of
//! it are true. The processes of a sandbox are found by their PID namespace, whatever their names.
//! Kernel memory (namespaces, mounts, cgroups) is not in these figures.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::failure::Failure;

use super::plane::Plane;

/// Enough that the noise of one page fault in the server is small beside the sum.
const IDLE_SANDBOXES: u32 = 20;

/// Figures in KiB.
#[derive(Clone, Copy, Default)]
pub struct Memory {
    pub server_rss_kib: u64,
    pub server_pss_kib: u64,
    /// The processes that the server started and that are not in a sandbox.
    pub spawner_pss_kib: u64,
    pub idle_sandboxes: u32,
    pub sandbox_processes: usize,
    /// Of all processes in the idle sandboxes together.
    pub sandbox_pss_kib: u64,
    pub sandbox_private_kib: u64,
    /// By how much the server and its own processes grew while the sandboxes were made.
    pub growth_pss_kib: u64,
}

/// Creates idle sandboxes, looks, and deletes them.
pub fn measure(plane: &mut Plane) -> Result<Memory, Failure> {
    let strangers = pids();
    let before = outside(plane.pid())?;
    let mut ids = Vec::new();
    for _ in 0..IDLE_SANDBOXES {
        ids.push(plane.create()?);
    }
    let after = outside(plane.pid())?;
    let here = pid_namespace(std::process::id());
    let mut sandboxes = Sizes::default();
    let mut processes = 0;
    for pid in pids().difference(&strangers) {
        let namespace = pid_namespace(*pid);
        if namespace.is_some() && namespace != here {
            // It may end between two looks, and is then of no weight.
            sandboxes = sandboxes.and(sizes(*pid).unwrap_or_default());
            processes += 1;
        }
    }
    for id in ids {
        plane.delete(&id)?;
    }
    Ok(Memory {
        server_rss_kib: before.server.rss,
        server_pss_kib: before.server.pss,
        spawner_pss_kib: before.children.pss,
        idle_sandboxes: IDLE_SANDBOXES,
        sandbox_processes: processes,
        sandbox_pss_kib: sandboxes.pss,
        sandbox_private_kib: sandboxes.private,
        growth_pss_kib: (after.server.pss + after.children.pss)
            .saturating_sub(before.server.pss + before.children.pss),
    })
}

/// The resident memory of a process, in KiB.
pub fn resident(pid: u32) -> Result<u64, Failure> {
    let sizes = sizes(pid).ok_or_else(|| Failure::new("read the memory of the server"))?;
    Ok(sizes.rss)
}

struct Outside {
    server: Sizes,
    children: Sizes,
}

/// The server and what it started outside of sandboxes.
fn outside(server: u32) -> Result<Outside, Failure> {
    let here = pid_namespace(server);
    let mut children = Sizes::default();
    for pid in pids() {
        if parent(pid) == Some(server) && pid_namespace(pid) == here {
            children = children.and(sizes(pid).unwrap_or_default());
        }
    }
    let server = sizes(server).ok_or_else(|| Failure::new("read the memory of the server"))?;
    Ok(Outside { server, children })
}

/// Of one process or a sum of some, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sizes {
    rss: u64,
    pss: u64,
    private: u64,
}

impl Sizes {
    fn and(self, other: Self) -> Self {
        Self {
            rss: self.rss + other.rss,
            pss: self.pss + other.pss,
            private: self.private + other.private,
        }
    }

    /// Reads the kernel's roll-up of all mappings of a process.
    fn parse(text: &str) -> Self {
        let field = |key: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            let number = line.and_then(|it| it.trim().strip_suffix(" kB"));
            number.and_then(|it| it.trim().parse().ok()).unwrap_or(0)
        };
        Self {
            rss: field("Rss:"),
            pss: field("Pss:"),
            private: field("Private_Clean:") + field("Private_Dirty:"),
        }
    }
}

fn sizes(pid: u32) -> Option<Sizes> {
    fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok().map(|text| Sizes::parse(&text))
}

fn pids() -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn pid_namespace(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roll_up_of_the_kernel_is_read() {
        let text = "5560-7fff ---p 00:00 0 [rollup]\nRss:    12 kB\nPss:     7 kB\n\
                    Pss_Dirty:  3 kB\nPrivate_Clean:  1 kB\nPrivate_Dirty:   4 kB\n";
        assert_eq!(Sizes::parse(text), Sizes { rss: 12, pss: 7, private: 5 });
    }

    #[test]
    fn this_process_has_a_size_and_a_parent() {
        let own = std::process::id();
        assert!(sizes(own).unwrap().pss > 0);
        assert!(parent(own).is_some() && pids().contains(&own));
    }
}
