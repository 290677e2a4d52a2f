//! One cgroup per sandbox in every hierarchy used: `stacyvm/<instance>/<sandbox>.<incarnation>`.
//!
//! Makes, limits, counts, kills and removes them. Every function takes the state on the host as it
//! finds it, so it works on what a crash left half-made. Called by `create`, `destroy` and
//! `inventory`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::process::{Pid, Signal};

use super::{Controller, Kind, Layout, Tree};
use crate::failure::{Failure, InStep};
use crate::rootfs::clone_tree;
use crate::wire::{Limits, Usage};
use crate::{files, key, sys};

/// The directory that all instances share in each hierarchy.
const TOP: &str = "stacyvm";

/// The length of a processor accounting period, in microseconds: the kernel's default.
const CPU_PERIOD_USEC: u64 = 100_000;

/// The most cgroups that the agent may make for its execs; each holds kernel memory.
const DESCENDANTS_MAX: &str = "2048";

/// How deep cgroups may nest inside a sandbox's: one for an exec, one to spare.
const DEPTH_MAX: &str = "2";

/// How deep cgroups are followed. Version 1 has no limit of its own, and only the agent can nest
/// them, so this bounds the helper's stack rather than anything that happens.
const DEPTH_FOLLOWED: usize = 64;

/// How often a directory shared with other instances is made again after they removed it.
const SHARED_DIR_TRIES: usize = 16;

/// Owner and group may search, all may read: what a hierarchy's own directories have.
const DIR_MODE: Mode = Mode::from_raw_mode(0o755);

/// The hierarchies, opened at this instance's level. The first is where processes are listed.
#[derive(Debug)]
pub struct Groups {
    trees: Vec<(Tree, OwnedFd)>,
    instance: String,
}

/// A sandbox's cgroups, opened for its first process to enter.
#[derive(Debug)]
pub struct Group {
    /// The one in the unified hierarchy, to clone into.
    pub unified: Option<OwnedFd>,
    /// The version 1 `tasks` files, for the process to write itself into.
    pub tasks: Vec<OwnedFd>,
    /// The directory that the sandbox's root may divide further.
    pub delegated: OwnedFd,
    /// The file that counts kills for want of memory.
    pub oom: OwnedFd,
}

impl Groups {
    /// Opens, and makes where needed, this instance's level in every hierarchy of the layout.
    pub fn open(layout: Layout, instance: &str) -> Result<Self, Failure> {
        let mut trees = Vec::new();
        for tree in layout.trees {
            let dir = open_level(&tree, instance).step("make the cgroup of this instance")?;
            trees.push((tree, dir));
        }
        Ok(Self { trees, instance: instance.to_owned() })
    }

    fn processes(&self) -> Option<&(Tree, OwnedFd)> {
        self.trees.first()
    }

    /// Which tree's group the agent divides, one part for each exec. Entering a version 1 group by
    /// its `tasks` takes 0.05 ms; entering one of the unified hierarchy waits for every processor
    /// to pass through the scheduler, 18 ms on an idle machine.
    fn divided(&self) -> usize {
        let light = |(tree, _): &(Tree, OwnedFd)| {
            tree.kind == Kind::Legacy && tree.controllers.contains(&Controller::Pids)
        };
        self.trees.iter().position(light).unwrap_or(0)
    }

    fn dir_of(&self, controller: Controller, key: &str) -> Result<(Kind, OwnedFd), Errno> {
        let found = self.trees.iter().find(|(tree, _)| tree.controllers.contains(&controller));
        let (tree, dir) = found.ok_or(Errno::NOENT)?;
        Ok((tree.kind, files::open_dir(dir, key)?))
    }

    /// Makes the cgroups of a sandbox with their limits; `owner` may divide the delegated one.
    pub fn make(&self, key: &str, limits: &Limits, owner: u32) -> Result<Group, Failure> {
        let (mut unified, mut tasks, mut delegated, mut oom) = (None, Vec::new(), None, None);
        for (index, (tree, parent)) in self.trees.iter().enumerate() {
            rustix::fs::mkdirat(parent, key, DIR_MODE).step("make the cgroup")?;
            let dir = files::open_dir(parent, key).step("open the cgroup")?;
            for controller in &tree.controllers {
                limit(&dir, tree.kind, *controller, limits).step("set the cgroup's limits")?;
            }
            if tree.controllers.contains(&Controller::Memory) {
                let counter = match tree.kind {
                    Kind::Unified => "memory.events",
                    Kind::Legacy => "memory.oom_control",
                };
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&dir, counter, flags, Mode::empty());
                oom = Some(file.step("open the memory events")?);
            }
            if index == self.divided() {
                delegate(&dir, tree.kind, owner).step("delegate the cgroup")?;
                delegated = Some(cut_off(&dir).step("cut the cgroup off")?);
            }
            match tree.kind {
                Kind::Unified => unified = Some(dir),
                Kind::Legacy => {
                    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
                    let file = rustix::fs::openat(&dir, "tasks", flags, Mode::empty());
                    tasks.push(file.step("open the cgroup's tasks")?);
                }
            }
        }
        let delegated = delegated.ok_or(Errno::NOSYS).step("find a cgroup hierarchy")?;
        let oom = oom.ok_or(Errno::NOSYS).step("find the memory controller")?;
        Ok(Group { unified, tasks, delegated, oom })
    }

    /// Whether any process of the sandbox lives.
    pub fn alive(&self, key: &str) -> Result<bool, Failure> {
        const STEP: &str = "look for processes";
        let Some((tree, parent)) = self.processes() else { return Ok(false) };
        match tree.kind {
            Kind::Unified => {
                let dir = match files::open_dir(parent, key) {
                    Err(Errno::NOENT) => return Ok(false),
                    other => other.step(STEP)?,
                };
                Ok(files::read_keyed(dir, "cgroup.events", "populated").step(STEP)? != 0)
            }
            Kind::Legacy => Ok(!self.pids(key).step(STEP)?.is_empty()),
        }
    }

    /// The processes of the sandbox, its nested cgroups included.
    pub fn pids(&self, key: &str) -> Result<Vec<Pid>, Errno> {
        let Some((_, parent)) = self.processes() else { return Ok(Vec::new()) };
        let mut pids = Vec::new();
        match files::open_dir(parent, key) {
            Err(Errno::NOENT) => {}
            dir => collect_pids(&dir?, DEPTH_FOLLOWED, &mut pids)?,
        }
        Ok(pids)
    }

    /// Ends every process of the sandbox; does not wait. Repeat until `alive` is false, because
    /// without the unified hierarchy a process may be born meanwhile.
    pub fn kill(&self, key: &str) -> Result<(), Failure> {
        const STEP: &str = "kill the processes";
        let Some((tree, parent)) = self.processes() else { return Ok(()) };
        let dir = match files::open_dir(parent, key) {
            Err(Errno::NOENT) => return Ok(()),
            other => other.step(STEP)?,
        };
        match tree.kind {
            Kind::Unified => files::write(&dir, "cgroup.kill", "1").step(STEP),
            Kind::Legacy => {
                // With no process allowed, none can be born faster than they are killed.
                files::write(&dir, "pids.max", "0").step(STEP)?;
                for pid in self.pids(key).step(STEP)? {
                    match rustix::process::kill_process(pid, Signal::KILL) {
                        Ok(()) | Err(Errno::SRCH) => {}
                        Err(errno) => return Err(errno).step(STEP),
                    }
                }
                Ok(())
            }
        }
    }

    /// A descriptor that becomes urgent when the last process is gone, where the host has one.
    pub fn emptied(&self, key: &str) -> Option<OwnedFd> {
        let (_, parent) = self.processes().filter(|(tree, _)| tree.kind == Kind::Unified)?;
        let dir = files::open_dir(parent, key).ok()?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::openat(dir, "cgroup.events", flags, Mode::empty()).ok()
    }

    /// Removes the sandbox's cgroups. `BUSY` while a process is in one of them.
    pub fn remove(&self, key: &str) -> Result<(), Errno> {
        // The first tree last: as long as anything is left, processes can be found in it.
        self.trees
            .iter()
            .rev()
            .try_for_each(|(_, parent)| remove_group(parent, key, DEPTH_FOLLOWED))
    }

    /// The names of all sandboxes' cgroups at this instance's level.
    pub fn keys(&self) -> Result<Vec<String>, Failure> {
        const STEP: &str = "list the cgroups";
        let is_key = |name: &String| key::target_of(name).is_some();
        let mut keys = Vec::new();
        for (_, dir) in &self.trees {
            keys.extend(files::names(dir).step(STEP)?.into_iter().filter(is_key));
        }
        Ok(keys)
    }

    /// Removes this instance's level, and the shared one, where they are empty.
    pub fn remove_levels(&self) {
        for (tree, _) in &self.trees {
            let top = tree.root.join(TOP);
            // A level that is still in use refuses, and whoever uses it removes it later.
            let _ = rustix::fs::rmdir(top.join(&self.instance));
            let _ = rustix::fs::rmdir(top);
        }
    }

    /// Reads the counters of a sandbox.
    pub fn usage(&self, key: &str) -> Result<Usage, Errno> {
        let mut usage = Usage::default();
        let (kind, memory) = self.dir_of(Controller::Memory, key)?;
        match kind {
            Kind::Unified => {
                usage.memory_bytes = files::read_number(&memory, "memory.current")?;
                usage.memory_limit_bytes = files::read_number(&memory, "memory.max")?;
                // Kernels before 5.19 keep no peak.
                usage.memory_peak_bytes =
                    files::read_number(&memory, "memory.peak").unwrap_or(usage.memory_bytes);
                usage.oom_kills = files::read_keyed(&memory, "memory.events", "oom_kill")?;
            }
            Kind::Legacy => {
                usage.memory_bytes = files::read_number(&memory, "memory.usage_in_bytes")?;
                usage.memory_limit_bytes = files::read_number(&memory, "memory.limit_in_bytes")?;
                usage.memory_peak_bytes = files::read_number(&memory, "memory.max_usage_in_bytes")?;
                usage.oom_kills = files::read_keyed(&memory, "memory.oom_control", "oom_kill")?;
            }
        }
        usage.pids = files::read_number(self.dir_of(Controller::Pids, key)?.1, "pids.current")?;
        usage.cpu_usec = self.cpu_usec(key)?;
        Ok(usage)
    }

    fn cpu_usec(&self, key: &str) -> Result<u64, Errno> {
        if let Some((_, dir)) = self.processes().filter(|(tree, _)| tree.kind == Kind::Unified) {
            return files::read_keyed(files::open_dir(dir, key)?, "cpu.stat", "usage_usec");
        }
        match self.dir_of(Controller::Cpuacct, key) {
            Ok((_, dir)) => Ok(files::read_number(dir, "cpuacct.usage")? / 1000),
            Err(_) => Ok(0),
        }
    }
}

fn open_level(tree: &Tree, instance: &str) -> Result<OwnedFd, Errno> {
    let root = open_path(&tree.root)?;
    for _ in 0..SHARED_DIR_TRIES {
        let opened = enter(&root, TOP, tree).and_then(|top| enter(&top, instance, tree));
        match opened {
            // Another instance, leaving, removed the shared level between two steps.
            Err(Errno::NOENT | Errno::NODEV) => {}
            other => return other,
        }
    }
    Err(Errno::BUSY)
}

fn open_path(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Makes one level, lets its children use the controllers, and opens it.
fn enter(parent: &OwnedFd, name: &str, tree: &Tree) -> Result<OwnedFd, Errno> {
    files::present_is_fine(rustix::fs::mkdirat(parent, name, DIR_MODE))?;
    if tree.kind == Kind::Unified && !tree.controllers.is_empty() {
        let names: Vec<String> =
            tree.controllers.iter().map(|controller| format!("+{}", controller.name())).collect();
        files::write(parent, "cgroup.subtree_control", &names.join(" "))?;
        let dir = files::open_dir(parent, name)?;
        files::write(&dir, "cgroup.subtree_control", &names.join(" "))?;
        return Ok(dir);
    }
    files::open_dir(parent, name)
}

fn limit(dir: &OwnedFd, kind: Kind, controller: Controller, limits: &Limits) -> Result<(), Errno> {
    let bytes = limits.memory_bytes.to_string();
    let quota = (limits.cpu_millis * CPU_PERIOD_USEC / 1000).to_string();
    match (controller, kind) {
        (Controller::Memory, Kind::Unified) => {
            files::write(dir, "memory.max", &bytes)?;
            // Absent where the kernel has no swap accounting; then there is no swap to use.
            files::absent_is_fine(files::write(dir, "memory.swap.max", "0"))
        }
        (Controller::Memory, Kind::Legacy) => {
            files::write(dir, "memory.limit_in_bytes", &bytes)?;
            files::absent_is_fine(files::write(dir, "memory.memsw.limit_in_bytes", &bytes))
        }
        (Controller::Cpu, Kind::Unified) => {
            files::write(dir, "cpu.max", &format!("{quota} {CPU_PERIOD_USEC}"))
        }
        (Controller::Cpu, Kind::Legacy) => files::write(dir, "cpu.cfs_quota_us", &quota),
        (Controller::Pids, Kind::Unified | Kind::Legacy) => {
            files::write(dir, "pids.max", &limits.pids.to_string())
        }
        (Controller::Cpuacct, Kind::Unified | Kind::Legacy) => Ok(()),
    }
}

/// Lets the sandbox's root make cgroups of its own beneath this one, and move its processes.
fn delegate(dir: &OwnedFd, kind: Kind, owner: u32) -> Result<(), Errno> {
    let files: &[&str] = match kind {
        Kind::Unified => {
            files::write(dir, "cgroup.max.descendants", DESCENDANTS_MAX)?;
            files::write(dir, "cgroup.max.depth", DEPTH_MAX)?;
            &[".", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"]
        }
        Kind::Legacy => &[".", "cgroup.procs", "tasks"],
    };
    let (user, group) = (Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)));
    files.iter().try_for_each(|file| {
        rustix::fs::chownat(dir, *file, user, group, AtFlags::SYMLINK_NOFOLLOW)
    })
}

/// The same directory in a mount of its own, from which no `..` leads to the host's file tree.
fn cut_off(dir: &OwnedFd) -> Result<OwnedFd, Errno> {
    let tree = clone_tree(dir, false)?;
    let inert = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    sys::mount_setattr(&tree, inert, None, false)?;
    files::open_dir(&tree, ".")
}

fn children(dir: &OwnedFd) -> Result<Vec<String>, Errno> {
    let is_dir = |name: &String| {
        rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|found| {
            rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::Directory
        })
    };
    Ok(files::names(dir.as_fd())?.into_iter().filter(is_dir).collect())
}

fn collect_pids(dir: &OwnedFd, depth: usize, pids: &mut Vec<Pid>) -> Result<(), Errno> {
    let text = files::read(dir, "cgroup.procs")?;
    // A list cut off at the read limit may end in half a number: only whole lines count.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    pids.extend(whole.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)));
    if depth > 0 {
        for name in children(dir)? {
            collect_pids(&files::open_dir(dir, &name)?, depth - 1, pids)?;
        }
    }
    Ok(())
}

fn remove_group(parent: &OwnedFd, name: &str, depth: usize) -> Result<(), Errno> {
    let remove = || files::absent_is_fine(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR));
    match remove() {
        Err(Errno::BUSY | Errno::NOTEMPTY) if depth > 0 => {}
        other => return other,
    }
    let dir = match files::open_dir(parent, name) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    for child in children(&dir)? {
        remove_group(&dir, &child, depth - 1)?;
    }
    remove()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    const LIMITS: Limits = Limits { memory_bytes: 64 << 20, cpu_millis: 1000, pids: 16 };

    /// A process in `dir`, and in the sandbox's unified group where that is another one.
    fn sleeper(dir: &OwnedFd, group: &Group) -> Child {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id().to_string();
        if files::write(dir, "tasks", &pid).is_err() {
            files::write(dir, "cgroup.procs", &pid).unwrap();
        } else if let Some(unified) = &group.unified {
            files::write(unified, "cgroup.procs", &pid).unwrap();
        }
        child
    }

    fn check_life(layout: Layout, name: &str) {
        let instance = format!("unit-{name}-{}", std::process::id());
        let groups = Groups::open(layout, &instance).unwrap();
        let group = groups.make("s.1", &LIMITS, 0).unwrap();
        assert!(!groups.alive("s.1").unwrap());
        assert_eq!(groups.usage("s.1").unwrap().memory_limit_bytes, LIMITS.memory_bytes);
        rustix::fs::mkdirat(&group.delegated, "job", DIR_MODE).unwrap();
        let nested = files::open_dir(&group.delegated, "job").unwrap();
        let mut children = [sleeper(&group.delegated, &group), sleeper(&nested, &group)];
        assert!(groups.alive("s.1").unwrap());
        assert_eq!(groups.pids("s.1").unwrap().len(), 2);
        assert_eq!(groups.remove("s.1"), Err(Errno::BUSY));
        groups.kill("s.1").unwrap();
        for child in &mut children {
            child.wait().unwrap();
        }
        assert!(!groups.alive("s.1").unwrap());
        assert_eq!(groups.keys().unwrap().first().map(String::as_str), Some("s.1"));
        groups.remove("s.1").unwrap();
        groups.remove("s.1").unwrap();
        groups.kill("s.1").unwrap();
        assert_eq!(groups.keys().unwrap(), Vec::<String>::new());
        groups.remove_levels();
    }

    #[test]
    fn groups_live_and_die_on_this_host_as_it_is() {
        check_life(Layout::of_host().unwrap(), "host");
    }

    #[test]
    fn groups_live_and_die_without_the_unified_hierarchy() {
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let legacy: Vec<&str> =
            mountinfo.lines().filter(|line| !line.contains(" - cgroup2 ")).collect();
        let layout = Layout::parse(&legacy.join("\n"), |_| String::new());
        // A purely unified host has no way to be without it.
        if layout.missing().is_empty() {
            check_life(layout, "legacy");
        }
    }
}
