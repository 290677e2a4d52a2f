//! Making directories, for their own sake and on the way to a file. It replaces nothing.

use proto::GuestErrorKind;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, chmodat, mkdirat, statat};
use rustix::io::Errno;

use super::path::{GuestPath, Root};
use super::{Answer, fail, refusal};

/// Permission bits of a directory that none are given for.
const NEW_DIRECTORY_MODE: u32 = 0o755;

/// Makes a directory, with those above it if `parents`; then one that is there is success.
pub fn mkdir(root: Root<'_>, path: &GuestPath, mode: Option<u32>, parents: bool) -> Answer<()> {
    if parents && root.open(path, OFlags::PATH | OFlags::DIRECTORY).is_ok() {
        return Ok(());
    }
    if path.split().is_none() {
        // The root, or what `..` leads to.
        let exists = root.open(path, OFlags::PATH | OFlags::DIRECTORY);
        let error = exists.err().unwrap_or(Errno::EXIST);
        return Err(fail(path.as_str(), error));
    }
    if parents && let Some((parent, _)) = path.split() {
        make_all(root, &parent)?;
    }
    let place = root.place(path)?;
    let failed = |error| fail(path.as_str(), error);
    match mkdirat(&place.dir, &place.name, Mode::from_raw_mode(NEW_DIRECTORY_MODE)) {
        Ok(()) => {}
        // Somebody else was quicker.
        Err(Errno::EXIST) if parents && is_directory(root, path) => return Ok(()),
        Err(Errno::EXIST) => {
            let stat = statat(&place.dir, &place.name, AtFlags::SYMLINK_NOFOLLOW);
            let directory =
                stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
            let what = if directory { "a directory" } else { "a file" };
            let message = format!("{}: there is {what} already", path.as_str());
            return Err(refusal(GuestErrorKind::Exists, message));
        }
        Err(error) => return Err(failed(error)),
    }
    match mode {
        // What has taken the name in the meantime is not followed.
        Some(mode) => {
            let dir = place.open(OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
            chmodat(&dir, c".", Mode::from_raw_mode(mode), AtFlags::empty()).map_err(failed)
        }
        None => Ok(()),
    }
}

fn is_directory(root: Root<'_>, path: &GuestPath) -> bool {
    root.open(path, OFlags::PATH | OFlags::DIRECTORY).is_ok()
}

/// Makes the directory and those above it, where they are missing.
pub fn make_all(root: Root<'_>, path: &GuestPath) -> Answer<()> {
    if is_directory(root, path) {
        return Ok(());
    }
    for step in path.steps().filter(|step| step.split().is_some()) {
        let place = root.place(&step)?;
        match mkdirat(&place.dir, &place.name, Mode::from_raw_mode(NEW_DIRECTORY_MODE)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(fail(step.as_str(), error)),
        }
    }
    Ok(())
}
