//! The Docker peer: an image of two programs, a container that waits, and the two commands.
//!
//! The image is made from this machine's own files, so that no registry is needed and the program
//! is the same one. Image and container are removed when this is dropped.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use crate::command;
use crate::failure::Failure;

use super::subject::PROGRAM;

/// The program that keeps the container alive.
const WAIT: &str = "/usr/bin/sleep";
/// No two runs share these.
const PREFIX: &str = "stacyvm-bench";

/// A daemon that answers, with the image and the container in it.
pub struct Docker {
    pub version: String,
    name: String,
}

impl Docker {
    /// `None` when no daemon answers. Fails when one does but cannot run the image.
    pub fn find() -> Result<Option<Self>, Failure> {
        let mut ask = Command::new("docker");
        let Ok(version) = command::output(ask.args(["version", "--format", "{{.Server.Version}}"]))
        else {
            return Ok(None);
        };
        let name = format!("{PREFIX}-{}", std::process::id());
        let peer = Self { version, name };
        peer.import()?;
        let mut wait = docker(&["run", "--detach", "--name", &peer.name]);
        wait.args(["--network", "none", &peer.name, WAIT, "infinity"]);
        command::output(&mut wait)?;
        Ok(Some(peer))
    }

    /// A whole life of a container.
    pub fn run(&self) -> Command {
        docker(&["run", "--rm", "--network", "none", &self.name, PROGRAM])
    }

    /// One more program in the container that waits.
    pub fn exec(&self) -> Command {
        docker(&["exec", &self.name, PROGRAM])
    }

    fn import(&self) -> Result<(), Failure> {
        let doing = || Failure::doing("make an image for docker");
        let mut pack = Command::new("tar");
        pack.args(["--create", "--dereference", "--directory", "/"]).args(files()?);
        let mut pack = pack.stdout(Stdio::piped()).spawn().map_err(doing())?;
        let archive = pack.stdout.take().ok_or_else(|| Failure::new("read from tar"))?;
        let mut import = docker(&["import", "-", &self.name]);
        let imported = command::output(import.stdin(archive));
        let packed = pack.wait().map_err(doing())?;
        imported?;
        if packed.success() { Ok(()) } else { Err(Failure::new(format!("run tar: {packed}"))) }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // Either may be missing when the start went wrong half way.
        command::succeeds(&mut docker(&["rm", "--force", &self.name]));
        command::succeeds(&mut docker(&["rmi", "--force", &self.name]));
    }
}

fn docker(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments);
    command
}

/// The two programs and the libraries they are linked with, relative to the root.
fn files() -> Result<BTreeSet<String>, Failure> {
    let listed = command::output(Command::new("ldd").args([PROGRAM, WAIT]))?;
    let paths = listed.split_whitespace().filter(|word| word.starts_with('/'));
    let plain = paths.map(|path| path.trim_end_matches(':').trim_start_matches('/').to_owned());
    Ok(plain.collect())
}
