//! The private directories of runs without a server: `<data directory>/run/<random>`, each locked
//! by the process that it belongs to.
//!
//! A process that was killed leaves its directory unlocked; the next `run` or `serve` sweeps it.
//! One lock over all of them is held while a directory is made or claimed, so that no half-made
//! one is taken for a leftover.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::compose;
use crate::data_dir::{self, Lock};
use crate::failed::Failed;

/// A directory of this process, and the lock that says so.
#[derive(Debug)]
pub struct PrivateDir {
    path: PathBuf,
    _lock: Lock,
}

impl PrivateDir {
    /// Makes one below `data_dir`.
    pub fn make(data_dir: &Path) -> Result<Self, Failed> {
        let runs = runs(data_dir)?;
        let made = || {
            let _all = data_dir::lock_waiting(&runs.join("lock"))?;
            let path = runs.join(format!("{:016x}", rand::random::<u64>()));
            DirBuilder::new().mode(0o700).create(&path)?;
            let lock = data_dir::try_lock(&path.join("lock"))?
                .ok_or(io::Error::from(io::ErrorKind::ResourceBusy))?;
            Ok(Self { path, _lock: lock })
        };
        made().map_err(|error| Failed::with_path("make a directory in", &runs, &error))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it. Its lock goes last, so that nobody sweeps it at the same time.
    pub fn remove(self) -> Result<(), Failed> {
        data_dir::remove(&self.path)
            .map_err(|error| Failed::with_path("remove", &self.path, &error))
    }
}

/// Destroys what killed processes left below `data_dir`. What cannot be swept now is left for the
/// next time; nobody waits for it.
pub async fn sweep(data_dir: &Path) -> Vec<Failed> {
    let Ok(leftovers) = claim(data_dir) else { return Vec::new() };
    let mut failures = Vec::new();
    for leftover in leftovers {
        if let Err(failed) = compose::sweep(&leftover.path).await {
            failures.push(failed);
        }
    }
    failures
}

/// The directories whose processes are gone; they are ours now.
fn claim(data_dir: &Path) -> io::Result<Vec<PrivateDir>> {
    let runs = data_dir.join("run");
    if !runs.is_dir() {
        return Ok(Vec::new());
    }
    let _all = data_dir::lock_waiting(&runs.join("lock"))?;
    let mut claimed = Vec::new();
    for entry in fs::read_dir(&runs)? {
        let path = entry?.path();
        if path.is_dir()
            && let Some(lock) = data_dir::try_lock(&path.join("lock"))?
        {
            claimed.push(PrivateDir { path, _lock: lock });
        }
    }
    Ok(claimed)
}

fn runs(data_dir: &Path) -> Result<PathBuf, Failed> {
    let runs = data_dir.join("run");
    data_dir::make(&runs)?;
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_dead_processes_are_claimed() {
        let data_dir = tempfile::tempdir().unwrap();
        let alive = PrivateDir::make(data_dir.path()).unwrap();
        let dead = PrivateDir::make(data_dir.path()).unwrap().path().to_path_buf();
        let claimed: Vec<_> =
            claim(data_dir.path()).unwrap().iter().map(|dir| dir.path.clone()).collect();
        assert_eq!(claimed, [dead]);
        let path = alive.path().to_path_buf();
        alive.remove().unwrap();
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_leftover_without_sandboxes_is_removed() {
        let data_dir = tempfile::tempdir().unwrap();
        let path = PrivateDir::make(data_dir.path()).unwrap().path().to_path_buf();
        assert!(sweep(data_dir.path()).await.is_empty());
        assert!(!path.exists());
    }
}
