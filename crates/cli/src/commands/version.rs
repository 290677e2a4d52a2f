//! `version`: which program this is and what it was built for. Needs no server.

use std::process::ExitCode;

use serde_json::json;

use crate::args::Global;
use crate::failed::Failed;
use crate::output;

/// This program's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version as `--version` shows it behind the name.
pub const LONG: &str = VERSION;

/// Prints the version and what it was built for.
pub fn version(global: &Global) -> Result<ExitCode, Failed> {
    let (os, arch) = (std::env::consts::OS, arch());
    if global.json {
        output::print_json(&json!({ "version": VERSION, "os": os, "arch": arch }))?;
    } else {
        output::print(&format!("stacyvm {VERSION} ({os}/{arch})\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The processor by the name that published scripts look for.
const fn arch() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "amd64"
    } else if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        std::env::consts::ARCH
    }
}
