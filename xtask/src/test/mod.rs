//! `cargo xtask test`: every test there is, on the parts that users run.
//!
//! The release binary is built first, because the end-to-end tests drive it (they find it in
//! `STACYVM_BIN`). Then the Rust tests run, then the published Python client, and at the end this
//! machine is compared with what it was before: a test that leaves a process, mount, cgroup,
//! namespace, claim or file behind fails the run. Not for lints: `.ci/run` adds those.

mod leaks;
mod python;

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::command;
use crate::failure::Failure;
use crate::needs::{self, Purpose};
use crate::workspace::Workspace;

use self::leaks::Places;

/// Runs everything, or, with filters, the Rust tests whose name contains one of them.
pub fn run(workspace: &Workspace, filters: &[String]) -> Result<(), Failure> {
    needs::install(Purpose::Test)?;
    let stacyvm = workspace.build_stacyvm()?;
    // Short, because unix sockets below it have to fit 108 bytes.
    let scratch = tempfile::Builder::new()
        .prefix("stacyvm-test-")
        .tempdir()
        .map_err(Failure::doing("make a scratch directory"))?
        .keep();
    let places = Places::of_this_machine(&scratch);
    let before = places.look();
    let setting = Setting { workspace, stacyvm: &stacyvm, scratch: &scratch };
    let tested = run_tests(&setting, filters);
    let left = places.left_since(&before);
    for trace in &left {
        eprintln!("left behind: {trace}");
    }
    if left.is_empty() {
        fs::remove_dir(&scratch).map_err(Failure::doing("remove the scratch directory"))?;
        return tested;
    }
    // A test that failed is the likelier cause of both.
    tested?;
    Err(Failure::new(format!("leave nothing behind: {} traces remain", left.len())))
}

fn run_tests(setting: &Setting<'_>, filters: &[String]) -> Result<(), Failure> {
    run_rust_tests(setting, filters)?;
    if !filters.is_empty() {
        eprintln!("the Python client is not run: names were given");
        return Ok(());
    }
    python::run(setting)
}

/// nextest where it is installed, because it is faster and isolates tests; else what Rust brings.
fn run_rust_tests(setting: &Setting<'_>, filters: &[String]) -> Result<(), Failure> {
    let nextest = command::succeeds(command::cargo().args(["nextest", "--version"]));
    if !nextest {
        let mut test = setting.give(command::cargo());
        return command::run(
            test.args(["test", "--workspace", "--no-fail-fast", "--"]).args(filters),
        );
    }
    let mut test = setting.give(command::cargo());
    command::run(test.args(["nextest", "run", "--workspace", "--no-fail-fast"]).args(filters))?;
    if filters.is_empty() {
        let mut documentation = setting.give(command::cargo());
        command::run(documentation.args(["test", "--workspace", "--doc"]))?;
    }
    Ok(())
}

/// What every test program is given.
struct Setting<'a> {
    workspace: &'a Workspace,
    stacyvm: &'a Path,
    scratch: &'a Path,
}

impl Setting<'_> {
    /// Puts the program into the workspace, with the binary under test and a scratch directory of
    /// its own, by which what it leaves is found. Settings of the person who runs it stay out.
    fn give(&self, mut command: Command) -> Command {
        let names = std::env::vars_os().map(|(name, _)| name);
        for name in names.filter(|name| name.as_encoded_bytes().starts_with(b"STACYVM_")) {
            command.env_remove(name);
        }
        command.current_dir(&self.workspace.root);
        command.env("STACYVM_BIN", self.stacyvm).env("TMPDIR", self.scratch);
        command
    }
}
