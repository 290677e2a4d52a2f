//! What a server may have left on the host: processes, cgroups, mounts, directories, id claims.
//!
//! Everything is found by the instance's name or its directory, so that tests that run at the
//! same time do not see each other.

use std::fs;
use std::path::{Path, PathBuf};

/// How deep an instance's state lies beneath a data directory.
const DEPTH: usize = 4;

/// Everything on this host that belongs to a server on `data_dir`, whether or not it runs: one
/// line each, empty when nothing is left.
pub fn traces(data_dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut states = Vec::new();
    find_states(data_dir, DEPTH, &mut states);
    for state in &states {
        let instance = fs::read_to_string(state.join("instance")).unwrap_or_default();
        let instance = instance.trim();
        if !instance.is_empty() {
            found.extend(processes(instance));
            cgroups(Path::new("/sys/fs/cgroup"), instance, 3, &mut found);
        }
        for entry in entries(&state.join("sandboxes")) {
            found.push(format!("directory {}", entry.display()));
        }
    }
    let here = data_dir.to_string_lossy();
    for claim in entries(Path::new("/run/stacyvm/uids")) {
        let text = fs::read_to_string(&claim).unwrap_or_default();
        if text.contains(&*here) {
            found.push(format!("claim {}", claim.display()));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    found.extend(
        mounts.lines().filter(|line| line.contains(&*here)).map(|it| format!("mount {it}")),
    );
    found
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(Result::ok).map(|entry| entry.path()).collect()
}

fn find_states(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if directory.join("instance").is_file() {
        found.push(directory.to_owned());
    }
    if depth > 0 {
        for entry in entries(directory).into_iter().filter(|entry| entry.is_dir()) {
            if entry.file_name().is_some_and(|name| name != "sandboxes" && name != "images") {
                find_states(&entry, depth - 1, found);
            }
        }
    }
}

fn processes(instance: &str) -> Vec<String> {
    let mut found = Vec::new();
    for process in entries(Path::new("/proc")) {
        let cgroups = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
        // A process that nobody has waited for yet is listed and holds nothing.
        let status = fs::read_to_string(process.join("stat")).unwrap_or_default();
        let ended = status.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"));
        if cgroups.contains(instance) && !ended {
            let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
            found.push(format!("process {} {}", process.display(), name.trim()));
        }
    }
    found
}

fn cgroups(directory: &Path, instance: &str, depth: usize, found: &mut Vec<String>) {
    for entry in entries(directory).into_iter().filter(|entry| entry.is_dir()) {
        if entry.file_name().is_some_and(|name| name == instance) {
            let sandboxes = entries(&entry).into_iter().filter(|entry| entry.is_dir());
            found.extend(sandboxes.map(|it| format!("cgroup {}", it.display())));
        } else if depth > 0 {
            cgroups(&entry, instance, depth - 1, found);
        }
    }
}
