//! Renaming. Within a file system it is one system call; a regular file that has to cross to
//! another is copied under a temporary name first.

use std::os::fd::OwnedFd;

use proto::{EntryKind, GuestErrorKind};
use rustix::fs::{AtFlags, Mode, OFlags, fstat, futimens, openat, renameat, statat, unlinkat};
use rustix::fs::{Timespec, Timestamps};
use rustix::io::Errno;

use super::list::kind_of;
use super::path::{GuestPath, Place, Root};
use super::replace::TempFile;
use super::{Answer, fail, refusal};

/// Bytes copied at once.
const COPY_CHUNK: usize = 128 * 1024;

/// Gives a file another name, replacing a file that is in the way.
pub fn rename(root: Root<'_>, from: &GuestPath, to: &GuestPath) -> Answer<()> {
    let (old, new) = (root.place(from)?, root.place(to)?);
    match renameat(&old.dir, &old.name, &new.dir, &new.name) {
        Ok(()) => Ok(()),
        Err(Errno::XDEV) => cross(&old, new, from),
        Err(Errno::INVAL) => {
            let message = format!("to: {} is inside of what is moved", to.as_str());
            Err(refusal(GuestErrorKind::Invalid, message))
        }
        Err(error) => Err(fail(&format!("{} to {}", from.as_str(), to.as_str()), error)),
    }
}

/// Moves a regular file to another file system.
fn cross(old: &Place, new: Place, from: &GuestPath) -> Answer<()> {
    let failed = |error| fail(from.as_str(), error);
    let stat = statat(&old.dir, &old.name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    if kind_of(&stat) != EntryKind::File {
        let message =
            format!("{}: only a regular file moves to another file system", from.as_str());
        return Err(refusal(GuestErrorKind::Invalid, message));
    }
    copy(old, new).map_err(failed)?;
    unlinkat(&old.dir, &old.name, AtFlags::empty()).map_err(failed)
}

fn copy(old: &Place, new: Place) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source: OwnedFd = openat(&old.dir, &old.name, flags, Mode::empty())?;
    let stat = fstat(&source)?;
    let target = TempFile::create(new)?;
    let mut buffer = vec![0; COPY_CHUNK];
    loop {
        match rustix::io::read(&source, &mut buffer) {
            Ok(0) => break,
            Ok(count) => target.write_all(&buffer[..count])?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    let stamp =
        |seconds, nanos| Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanos).unwrap_or(0) };
    let times = Timestamps {
        last_access: stamp(stat.st_atime, stat.st_atime_nsec),
        last_modification: stamp(stat.st_mtime, stat.st_mtime_nsec),
    };
    futimens(&target.file, &times)?;
    target.take_place(stat.st_mode & 0o777).map(drop)
}
