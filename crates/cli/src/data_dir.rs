//! The data directory and the locks that say who uses it.
//!
//! A lock is a file that is locked, not a file that exists: the kernel gives it up with the
//! process, however that ends.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::failed::Failed;

/// A file that is locked as long as this lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Makes the directory, readable by its owner alone; one that is there is left as it is.
pub fn make(path: &Path) -> Result<(), Failed> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Failed::with_path("make the data directory", path, &error))
}

/// Takes the data directory for a server, or says who has it.
pub fn lock(directory: &Path) -> Result<Lock, Failed> {
    let path = directory.join("lock");
    let failed = |error: &io::Error| Failed::with_path("lock the data directory", directory, error);
    let mut file = open(&path).map_err(|error| failed(&error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // The number is for people; without it the message is still true.
            let _ = (&file).take(16).read_to_string(&mut holder);
            let who = match holder.trim() {
                "" => "another server".to_owned(),
                pid => format!("another server (process {pid})"),
            };
            return Err(Failed::new(format!(
                "{who} uses the data directory {}",
                directory.display()
            ))
            .hint("stop it, or choose another directory with --data-dir"));
        }
        Err(error) => return Err(failed(&error.into())),
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(|error| failed(&error))?;
    Ok(Lock { _file: file })
}

/// Locks the file at `path`, waiting for others; for short work only.
pub fn lock_waiting(path: &Path) -> io::Result<Lock> {
    let file = open(path)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(Lock { _file: file })
}

/// Locks the file at `path` unless somebody else has.
pub fn try_lock(path: &Path) -> io::Result<Option<Lock>> {
    let file = open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes a directory with all that is in it; an absent one is fine.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_refused_and_told_who_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let held = lock(directory.path()).unwrap();
        let lines = lock(directory.path()).unwrap_err().lines(false);
        let expected = format!(
            "error: another server (process {}) uses the data directory {}\n",
            std::process::id(),
            directory.path().display()
        );
        assert!(lines.starts_with(&expected), "{lines}");
        drop(held);
        lock(directory.path()).unwrap();
    }

    #[test]
    fn a_lock_is_free_as_soon_as_its_holder_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = try_lock(&path).unwrap();
        assert!(held.is_some());
        assert!(try_lock(&path).unwrap().is_none());
        drop(held);
        assert!(try_lock(&path).unwrap().is_some());
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let lines = make(&file.join("data")).unwrap_err().lines(false);
        assert!(lines.starts_with("error: failed to make the data directory "), "{lines}");
    }
}
