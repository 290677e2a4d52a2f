//! Where the workspace is and what cargo knows of it.
//!
//! Reads `cargo metadata` once, without resolving dependencies and so without a network. Not for
//! reading sources: that is `tidy::tree`. Used by every command.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::command;
use crate::failure::Failure;

/// The workspace that this program was built in.
pub struct Workspace {
    /// The folder of the root `Cargo.toml`, absolute.
    pub root: PathBuf,
    /// Where cargo puts what it builds, absolute.
    pub target: PathBuf,
    /// The answer of `cargo metadata --no-deps`.
    pub metadata: Value,
}

impl Workspace {
    /// Asks cargo. Fails when cargo cannot read the manifests.
    pub fn load() -> Result<Self, Failure> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let mut asked = command::cargo();
        asked.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]);
        let text = command::output(asked.arg(manifest))?;
        let metadata: Value =
            serde_json::from_str(&text).map_err(Failure::doing("read cargo's metadata"))?;
        let folder = |key: &str| {
            let text = metadata[key].as_str();
            text.map(PathBuf::from)
                .ok_or_else(|| Failure::new(format!("find `{key}` in cargo's metadata")))
        };
        Ok(Self { root: folder("workspace_root")?, target: folder("target_directory")?, metadata })
    }

    /// The release build of `stacyvm`: what users run, so what end-to-end tests and marks use.
    pub fn stacyvm(&self) -> PathBuf {
        self.target.join("release").join("stacyvm")
    }

    /// Builds it. Cargo does nothing when it is up to date.
    pub fn build_stacyvm(&self) -> Result<PathBuf, Failure> {
        command::run(
            command::cargo()
                .args(["build", "--release", "--package", "stacyvm"])
                .current_dir(&self.root),
        )?;
        Ok(self.stacyvm())
    }
}
