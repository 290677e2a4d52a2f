//! Which cgroup hierarchies the host has, and which of them a sandbox is put into.
//!
//! This module decides, from text the kernel gives; `groups` acts. A host may have version 1
//! hierarchies, the unified one, or both, with the controllers anywhere among them. The unified one
//! is used whenever it is there, even without controllers, because one write to it ends every
//! process of a sandbox at once. Used by `host` and `probe`.

mod groups;

use std::path::PathBuf;

pub use groups::{Group, Groups};

use crate::wire::CgroupLayout;

/// A controller that sandboxes use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// Limits processor time.
    Cpu,
    /// Counts processor time; of use only where no unified hierarchy counts it.
    Cpuacct,
    /// Limits and counts memory.
    Memory,
    /// Limits and counts processes.
    Pids,
}

impl Controller {
    /// The three without which no sandbox is made.
    pub const REQUIRED: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];

    /// The kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }
}

/// The generation of a hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Version 2.
    Unified,
    /// Version 1.
    Legacy,
}

/// A hierarchy that sandboxes are put into, and what it is used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Where it is mounted.
    pub root: PathBuf,
    /// Its generation.
    pub kind: Kind,
    /// The controllers it provides.
    pub controllers: Vec<Controller>,
}

/// What the host has mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// In words.
    pub summary: CgroupLayout,
    /// The hierarchies to use; the first one is where processes are listed and killed.
    pub trees: Vec<Tree>,
}

impl Layout {
    /// Reads a layout from `/proc/self/mountinfo` and the unified root's `cgroup.controllers`,
    /// which `controllers_of` reads for a mount point (empty if there is none).
    pub fn parse(mountinfo: &str, controllers_of: impl Fn(&str) -> String) -> Self {
        let mounts: Vec<Mount<'_>> = mountinfo.lines().filter_map(Mount::parse).collect();
        let unified = mounts.iter().find(|mount| mount.kind == Kind::Unified);
        let legacy: Vec<&Mount<'_>> =
            mounts.iter().filter(|mount| mount.kind == Kind::Legacy).collect();
        let mut trees = Vec::new();
        let offered = unified.map(|mount| controllers_of(mount.point)).unwrap_or_default();
        if let Some(mount) = unified {
            let has = |controller: &Controller| {
                offered.split_whitespace().any(|name| name == controller.name())
            };
            trees.push(mount.tree(Controller::REQUIRED.into_iter().filter(has).collect()));
        }
        let mut wanted = vec![Controller::Pids, Controller::Memory, Controller::Cpu];
        if unified.is_none() {
            wanted.push(Controller::Cpuacct);
        }
        for controller in wanted {
            if trees.iter().any(|tree: &Tree| tree.controllers.contains(&controller)) {
                continue;
            }
            let Some(mount) = legacy.iter().find(|mount| mount.offers(controller)) else {
                continue;
            };
            match trees.iter_mut().find(|tree| tree.root.as_os_str() == mount.point) {
                Some(tree) => tree.controllers.push(controller),
                None => trees.push(mount.tree(vec![controller])),
            }
        }
        let controls = legacy.iter().any(|mount| {
            Controller::REQUIRED.into_iter().any(|controller| mount.offers(controller))
        });
        let summary = match (unified.is_some(), controls) {
            (true, true) => CgroupLayout::Hybrid,
            (true, false) => CgroupLayout::V2,
            (false, true) => CgroupLayout::V1,
            (false, false) => CgroupLayout::Absent,
        };
        Self { summary, trees }
    }

    /// Reads the layout of this host.
    pub fn of_host() -> std::io::Result<Self> {
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo")?;
        Ok(Self::parse(&mountinfo, |point| {
            std::fs::read_to_string(format!("{point}/cgroup.controllers")).unwrap_or_default()
        }))
    }

    /// The required controllers that no hierarchy provides.
    pub fn missing(&self) -> Vec<Controller> {
        let provided =
            |wanted: &Controller| self.trees.iter().any(|tree| tree.controllers.contains(wanted));
        Controller::REQUIRED.into_iter().filter(|wanted| !provided(wanted)).collect()
    }
}

/// One line of the mount table that is a cgroup hierarchy.
struct Mount<'a> {
    point: &'a str,
    kind: Kind,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut filesystem = after.split(' ');
        let kind = match filesystem.next()? {
            "cgroup2" => Kind::Unified,
            "cgroup" => Kind::Legacy,
            _ => return None,
        };
        let options = filesystem.nth(1)?;
        Some(Self { point: before.split(' ').nth(4)?, kind, options })
    }

    fn offers(&self, controller: Controller) -> bool {
        self.options.split(',').any(|option| option == controller.name())
    }

    fn tree(&self, controllers: Vec<Controller>) -> Tree {
        Tree { root: PathBuf::from(self.point), kind: self.kind, controllers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
    const HYBRID: &str = "\
35 24 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
36 24 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
37 24 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
38 24 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
39 24 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";

    fn points(layout: &Layout) -> Vec<&str> {
        layout.trees.iter().filter_map(|tree| tree.root.to_str()).collect()
    }

    #[test]
    fn a_unified_host_needs_one_tree() {
        let layout = Layout::parse(UNIFIED, |_| "cpuset cpu io memory pids".to_owned());
        assert_eq!(layout.summary, CgroupLayout::V2);
        assert_eq!(points(&layout), ["/sys/fs/cgroup"]);
        assert_eq!(layout.missing(), []);
    }

    #[test]
    fn a_hybrid_host_uses_the_unified_tree_first_and_the_controllers_where_they_are() {
        let layout = Layout::parse(HYBRID, |_| "hugetlb".to_owned());
        assert_eq!(layout.summary, CgroupLayout::Hybrid);
        assert_eq!(layout.trees[0].kind, Kind::Unified);
        assert_eq!(layout.trees[0].controllers, []);
        assert_eq!(layout.trees.len(), 4);
        assert_eq!(layout.missing(), []);
    }

    #[test]
    fn a_version_1_host_lists_processes_in_the_pids_tree() {
        let lines: Vec<&str> = HYBRID.lines().take(4).collect();
        let layout = Layout::parse(&lines.join("\n"), |_| String::new());
        assert_eq!(layout.summary, CgroupLayout::V1);
        assert_eq!(layout.trees[0].controllers, [Controller::Pids]);
        let cpu = layout.trees.iter().find(|tree| tree.controllers.contains(&Controller::Cpu));
        assert_eq!(cpu.unwrap().controllers, [Controller::Cpu, Controller::Cpuacct]);
    }

    #[test]
    fn what_is_not_mounted_is_missing() {
        let layout = Layout::parse("", |_| String::new());
        assert_eq!(layout.summary, CgroupLayout::Absent);
        assert_eq!(layout.missing(), Controller::REQUIRED);
    }
}
