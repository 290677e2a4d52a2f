//! Where the figures come from: the machine, its kernel, and the versions that were measured.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::command;

use super::docker::Docker;

/// Names and values, in the order they are printed.
pub type Facts = Vec<(&'static str, String)>;

/// What this machine says of itself. A fact that cannot be read is "unknown".
pub fn facts(stacyvm: &Path, docker: Option<&Docker>) -> Facts {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let mut facts = vec![
        ("time_unix_s", now.to_string()),
        ("kernel", read("/proc/sys/kernel/osrelease")),
        ("cpu", format!("{cpus} x {}", field("/proc/cpuinfo", "model name"))),
        ("memory", field("/proc/meminfo", "MemTotal")),
        ("load", read("/proc/loadavg")),
        ("stacyvm", version(Command::new(stacyvm).arg("version"))),
        ("bwrap", version(Command::new("bwrap").arg("--version"))),
    ];
    if let Some(docker) = docker {
        facts.push(("docker", docker.version.clone()));
    }
    facts
}

fn version(command: &mut Command) -> String {
    let text = command::output(command).unwrap_or_default();
    text.lines().next().map_or_else(unknown, str::to_owned)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| unknown(), |text| text.trim().to_owned())
}

fn field(path: &str, key: &str) -> String {
    let text = read(path);
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.split_once(':'));
    line.map_or_else(unknown, |(_, value)| value.trim().to_owned())
}

fn unknown() -> String {
    "unknown".to_owned()
}
