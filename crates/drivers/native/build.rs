//! Builds the two static programs that the driver carries: the jail helper and the agent.
//!
//! They are crates of the same workspace, but of another kind of binary (static, optimised for
//! size, no unwinding), so a second cargo builds them into a target directory of their own. The
//! driver embeds the result, and `stacyvm` stays one file that needs nothing beside it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Static linking works for the gnu target with nothing installed; a fixed address needs no
/// relocation at start, which is faster.
const RUSTFLAGS: &str = "-Ctarget-feature=+crt-static\u{1f}-Crelocation-model=static";

const PROGRAMS: [&str; 2] = ["stacyvm-agent", "stacyvm-jail"];

fn main() {
    let manifest_dir = PathBuf::from(required("CARGO_MANIFEST_DIR"));
    let workspace = manifest_dir.join("../../..");
    for crate_name in ["agent", "archive", "jail", "proto"] {
        println!("cargo::rerun-if-changed={}", workspace.join("crates").join(crate_name).display());
    }
    println!("cargo::rerun-if-changed={}", workspace.join("Cargo.lock").display());
    println!("cargo::rerun-if-changed={}", workspace.join("Cargo.toml").display());

    let target = required("TARGET");
    let target_dir = guest_target_dir(Path::new(&required("OUT_DIR")));
    build(&workspace, &target, &target_dir);
    for program in PROGRAMS {
        let path = target_dir.join(&target).join("guest").join(program);
        assert!(path.is_file(), "the nested build left no {}", path.display());
        let variable = program.to_uppercase().replace('-', "_");
        println!("cargo::rustc-env={variable}={}", path.display());
    }
}

/// A directory beside the profiles of the outer build, so that all of them share one result.
fn guest_target_dir(out_dir: &Path) -> PathBuf {
    let beside = out_dir.ancestors().nth(4).expect("OUT_DIR is target/profile/build/package/out");
    beside.join("guest")
}

fn build(workspace: &Path, target: &str, target_dir: &Path) {
    let mut cargo = Command::new(required("CARGO"));
    cargo.current_dir(workspace).args(["build", "--quiet", "--profile", "guest"]);
    for program in PROGRAMS {
        cargo.args(["--package", program, "--bin", program]);
    }
    let status = cargo
        .args(["--target", target])
        .arg("--target-dir")
        .arg(target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS)
        .env_remove("RUSTFLAGS")
        // Under `cargo clippy` this is the linter, which builds nothing.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .status()
        .expect("the cargo that runs this script can be run again");
    assert!(status.success(), "failed to build the agent and the jail helper: {status}");
}

fn required(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}
