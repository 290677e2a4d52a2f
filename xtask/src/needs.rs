//! What the commands need from Debian, and its installation where it is missing.
//!
//! One table, as short as it can be: a new row needs a reason that no crate can take away. Rust
//! and a linker are not in it, because without them this program would not run. Called by `test`,
//! `fuzz` and `bench` before anything else.

use std::path::Path;
use std::process::Command;

use crate::command;
use crate::failure::Failure;

/// The command on whose behalf something is installed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Test,
    Fuzz,
    Bench,
}

struct Need {
    package: &'static str,
    purpose: Purpose,
    reason: &'static str,
    present: fn() -> bool,
}

const NEEDS: &[Need] = &[
    Need {
        package: "python3",
        purpose: Purpose::Test,
        reason: "runs the published Python client, and is the program that tests run in `host`",
        present: || Path::new(PYTHON).exists(),
    },
    Need {
        package: "python3-venv",
        purpose: Purpose::Test,
        reason: "Debian's Python refuses pip outside a virtual environment",
        present: || command::succeeds(Command::new(PYTHON).args(["-c", "import venv, ensurepip"])),
    },
    Need {
        package: "tmux",
        purpose: Purpose::Test,
        reason: "is the terminal that `stacyvm shell` is tried on",
        present: || command::succeeds(Command::new("tmux").arg("-V")),
    },
    Need {
        package: "vim-tiny",
        purpose: Purpose::Test,
        reason: "is edited with in a sandbox's terminal",
        present: || Path::new("/usr/bin/vim.tiny").exists(),
    },
    Need {
        package: "procps",
        purpose: Purpose::Test,
        reason: "its `top` fills a sandbox's terminal",
        present: || Path::new("/usr/bin/top").exists(),
    },
    Need {
        package: "g++",
        purpose: Purpose::Fuzz,
        reason: "compiles libFuzzer",
        present: || command::succeeds(Command::new("c++").arg("--version")),
    },
    Need {
        package: "bubblewrap",
        purpose: Purpose::Bench,
        reason: "the peer that is measured beside us",
        present: || command::succeeds(Command::new("bwrap").arg("--version")),
    },
];

/// Debian's own Python: the one that sandboxes of image `host` see as well.
pub const PYTHON: &str = "/usr/bin/python3";

/// Installs what `purpose` needs and this machine lacks.
///
/// Only root can install; anybody else gets the exact command in the failure.
pub fn install(purpose: Purpose) -> Result<(), Failure> {
    let needs = missing_for(purpose);
    if needs.is_empty() {
        return Ok(());
    }
    for need in &needs {
        eprintln!("missing: {} ({})", need.package, need.reason);
    }
    let missing = packages(&needs);
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new(format!(
            "find what this needs; as root, run: apt-get update && apt-get install --yes \
             --no-install-recommends {}",
            missing.join(" ")
        )));
    }
    let mut update = Command::new("apt-get");
    command::run(update.args(["-qq", "update"]))?;
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive");
    install.args(["-qq", "install", "--yes", "--no-install-recommends"]);
    command::run(install.args(&missing))?;
    let still = missing_for(purpose);
    if still.is_empty() {
        Ok(())
    } else {
        let still = packages(&still).join(" ");
        Err(Failure::new(format!("make use of {still} after installing it")))
    }
}

fn missing_for(purpose: Purpose) -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| need.purpose == purpose && !(need.present)()).collect()
}

fn packages(needs: &[&Need]) -> Vec<&'static str> {
    needs.iter().map(|need| need.package).collect()
}
