//! Finds what a test run left on this machine, by comparing it with what was there before.
//!
//! Looks only for what the product makes: mounts, cgroups, network namespaces, claims and
//! processes that carry its name, and anything in the scratch directory of the run. Mounts inside
//! a sandbox are seen through the processes that hold them. It reads and never cleans up: what is
//! left is evidence. Called by `cargo xtask test`.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The word in everything that the product makes on a host.
const NAME: &str = "stacyvm";

/// How long ends that were asked for may still be under way when the last test has returned.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How deep below the cgroup mount our folders are looked for: a hierarchy, then the few levels
/// of a session or a container that this runs in.
const CGROUP_DEPTH: u32 = 6;

/// One thing that outlived the tests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trace {
    Mount(String),
    Cgroup(PathBuf),
    NetworkNamespace(PathBuf),
    Claim(PathBuf),
    Process { pid: u32, name: String },
    File(PathBuf),
}

impl fmt::Display for Trace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount(line) => write!(formatter, "mount {line}"),
            Self::Cgroup(path) => write!(formatter, "cgroup {}", path.display()),
            Self::NetworkNamespace(path) => write!(formatter, "namespace {}", path.display()),
            Self::Claim(path) => write!(formatter, "claim {}", path.display()),
            Self::Process { pid, name } => write!(formatter, "process {pid} ({name})"),
            Self::File(path) => write!(formatter, "file {}", path.display()),
        }
    }
}

/// Where to look; a test points these at folders of its own.
pub struct Places {
    proc: PathBuf,
    cgroup: PathBuf,
    run: PathBuf,
    scratch: PathBuf,
}

impl Places {
    /// The real places, with the directory that the test programs use for their files.
    pub fn of_this_machine(scratch: &Path) -> Self {
        Self {
            proc: "/proc".into(),
            cgroup: "/sys/fs/cgroup".into(),
            run: "/run".into(),
            scratch: scratch.into(),
        }
    }

    /// Everything of ours that is there now.
    pub fn look(&self) -> BTreeSet<Trace> {
        let mut found = BTreeSet::new();
        let mounts = fs::read_to_string(self.proc.join("self/mountinfo")).unwrap_or_default();
        let ours = mounts.lines().filter(|line| line.contains(NAME));
        found.extend(ours.map(|line| Trace::Mount(line.to_owned())));
        self.look_for_cgroups(&self.cgroup, CGROUP_DEPTH, &mut found);
        let namespaces = entries(&self.run.join("netns"));
        found.extend(namespaces.into_iter().map(Trace::NetworkNamespace));
        let claims = entries(&self.run.join(NAME).join("uids"));
        found.extend(claims.into_iter().map(Trace::Claim));
        found.extend(entries(&self.proc).iter().filter_map(|folder| self.process(folder)));
        found.extend(entries(&self.scratch).into_iter().map(Trace::File));
        found
    }

    /// What is there now and was not before, once the ends under way have had time to finish.
    pub fn left_since(&self, before: &BTreeSet<Trace>) -> Vec<Trace> {
        self.left_within(before, SETTLE_LIMIT)
    }

    fn left_within(&self, before: &BTreeSet<Trace>, limit: Duration) -> Vec<Trace> {
        let begun = Instant::now();
        loop {
            let left: Vec<_> = self.look().difference(before).cloned().collect();
            if left.is_empty() || begun.elapsed() >= limit {
                return left;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn look_for_cgroups(&self, folder: &Path, depth: u32, found: &mut BTreeSet<Trace>) {
        for path in entries(folder) {
            let is_folder = path.symlink_metadata().is_ok_and(|it| it.is_dir());
            if !is_folder {
                continue;
            }
            if path.strip_prefix(&self.cgroup).is_ok_and(names_us) {
                found.insert(Trace::Cgroup(path.clone()));
            }
            if depth > 1 {
                self.look_for_cgroups(&path, depth - 1, found);
            }
        }
    }

    /// A process of ours has our name, or was started with the scratch directory of this run.
    fn process(&self, folder: &Path) -> Option<Trace> {
        let pid: u32 = folder.file_name()?.to_str()?.parse().ok()?;
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let field = |key: &str| {
            status.lines().find_map(|line| line.strip_prefix(key)).map_or("", str::trim)
        };
        // A zombie has ended; a container whose PID 1 does not reap keeps it for ever.
        if field("State:").starts_with('Z') {
            return None;
        }
        let name = field("Name:").to_owned();
        let marker = [b"TMPDIR=".as_slice(), self.scratch.as_os_str().as_bytes()].concat();
        let environment = fs::read(folder.join("environ")).unwrap_or_default();
        let started_by_us = environment.split(|&byte| byte == 0).any(|entry| entry == marker);
        (name.starts_with(NAME) || started_by_us).then_some(Trace::Process { pid, name })
    }
}

fn names_us(path: &Path) -> bool {
    path.to_string_lossy().contains(NAME)
}

/// The entries of a folder; one that is not there has none.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).into_iter().flatten();
    read.filter_map(Result::ok).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine made of folders, and what is found on it.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn places(&self) -> Places {
            let at = |name| self.0.path().join(name);
            Places { proc: at("p"), cgroup: at("c"), run: at("r"), scratch: at("s") }
        }

        fn put(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn left_since(&self, before: &BTreeSet<Trace>) -> Vec<String> {
            let left = self.places().left_within(before, Duration::ZERO);
            let root = format!("{}/", self.0.path().display());
            left.iter().map(|trace| trace.to_string().replace(&root, "")).collect()
        }
    }

    #[test]
    fn each_kind_of_trace_is_found() {
        let machine = Machine::new();
        machine.put("p/self/mountinfo", "1 2 0:3 / / rw - ext4 sda rw\n");
        let before = machine.places().look();
        assert_eq!(before, BTreeSet::new());
        machine.put("p/self/mountinfo", "1 2 0:3 / / rw\n4 1 0:9 / /tmp/stacyvm-x rw\n");
        machine.put("c/unified/stacyvm/one/cgroup.procs", "");
        machine.put("r/netns/blue", "");
        machine.put("r/stacyvm/uids/7", "");
        machine.put("p/41/status", "Name:\tstacyvm-agent\nState:\tS (sleeping)\n");
        machine.put("s/forgotten", "");
        assert_eq!(
            machine.left_since(&before),
            [
                "mount 4 1 0:9 / /tmp/stacyvm-x rw",
                "cgroup c/unified/stacyvm",
                "cgroup c/unified/stacyvm/one",
                "namespace r/netns/blue",
                "claim r/stacyvm/uids/7",
                "process 41 (stacyvm-agent)",
                "file s/forgotten",
            ]
        );
    }

    #[test]
    fn what_was_there_before_is_not_ours_to_report() {
        let machine = Machine::new();
        machine.put("r/stacyvm/uids/7", "");
        let before = machine.places().look();
        assert_eq!(before.len(), 1);
        assert_eq!(machine.left_since(&before), Vec::<String>::new());
    }

    #[test]
    fn a_process_of_another_name_is_known_by_its_scratch_directory() {
        let machine = Machine::new();
        machine.put("p/41/status", "Name:\tsleep\nState:\tS (sleeping)\n");
        let scratch = machine.0.path().join("s");
        machine.put("p/41/environ", &format!("A=b\0TMPDIR={}\0", scratch.display()));
        assert_eq!(machine.left_since(&BTreeSet::new()), ["process 41 (sleep)"]);
    }

    #[test]
    fn a_zombie_and_a_stranger_are_not_reported() {
        let machine = Machine::new();
        machine.put("p/41/status", "Name:\tstacyvm\nState:\tZ (zombie)\n");
        machine.put("p/42/status", "Name:\tsshd\nState:\tS (sleeping)\n");
        assert_eq!(machine.left_since(&BTreeSet::new()), Vec::<String>::new());
    }
}
