//! Renaming. Within a file system it is one system call; a regular file that has to cross to
//! another is copied under a temporary name first.

use proto::{EntryKind, GuestErrorKind};
use rustix::fs::{AtFlags, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::list::kind_of;
use super::path::{GuestPath, Place, Root};
use super::{Answer, copy, fail, refusal};
use crate::stream::Stream;

/// Gives a file another name, replacing a file that is in the way.
pub fn rename(root: Root<'_>, (from, to): (&GuestPath, &GuestPath), stream: &Stream) -> Answer<()> {
    let (old, new) = (root.place(from)?, root.place(to)?);
    match renameat(&old.dir, &old.name, &new.dir, &new.name) {
        Ok(()) => Ok(()),
        Err(Errno::XDEV) => cross(&old, new, from, stream),
        Err(Errno::INVAL) => {
            let message = format!("to: {} is inside of what is moved", to.as_str());
            Err(refusal(GuestErrorKind::Invalid, message))
        }
        Err(error) => Err(fail(&format!("{} to {}", from.as_str(), to.as_str()), error)),
    }
}

/// Moves a regular file to another file system.
fn cross(old: &Place, new: Place, from: &GuestPath, stream: &Stream) -> Answer<()> {
    let failed = |error| fail(from.as_str(), error);
    let stat = statat(&old.dir, &old.name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    if kind_of(&stat) != EntryKind::File {
        let message =
            format!("{}: only a regular file moves to another file system", from.as_str());
        return Err(refusal(GuestErrorKind::Invalid, message));
    }
    copy::file(old, new, stream).map_err(failed)?;
    unlinkat(&old.dir, &old.name, AtFlags::empty()).map_err(failed)
}
