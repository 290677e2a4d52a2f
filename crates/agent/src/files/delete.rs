//! Removing files and trees. It follows no link, keeps two descriptors whatever the depth, and
//! checks on the way up that it comes back to where it went down.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use archive::walk::{DIRECTORY, Identity, read_names};
use proto::GuestErrorKind;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, statat, unlinkat};
use rustix::io::Errno;

use super::path::{GuestPath, Place, Root};
use super::{Answer, fail, refusal};
use crate::stream::Stream;

/// A directory on the way down.
#[derive(Debug)]
struct Level {
    /// Its name in the directory above.
    name: CString,
    /// Which file the directory above is.
    above: Identity,
}

/// Removes a file, or a directory with all that is in it. Stops when the stream is given up.
pub fn delete(root: Root<'_>, path: &GuestPath, recursive: bool, stream: &Stream) -> Answer<()> {
    if path.as_str() == "/" {
        return Err(refusal(GuestErrorKind::PathInvalid, "path: the root cannot be removed"));
    }
    let place = root.place(path)?;
    let failed = |error| fail(path.as_str(), error);
    let stat = statat(&place.dir, &place.name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return unlinkat(&place.dir, &place.name, AtFlags::empty()).map_err(failed);
    }
    if recursive {
        let top = openat(&place.dir, &place.name, DIRECTORY, Mode::empty()).map_err(failed)?;
        empty(top, || stream.is_gone()).map_err(failed)?;
    }
    unlinkat(&place.dir, &place.name, AtFlags::REMOVEDIR).map_err(failed)
}

/// Removes a directory with all that is in it, whoever waits.
pub fn remove_tree(place: &Place) -> Result<(), Errno> {
    empty(place.open(OFlags::RDONLY | OFlags::DIRECTORY)?, || false)?;
    unlinkat(&place.dir, place.name.as_str(), AtFlags::REMOVEDIR)
}

/// Removes all that is in a directory.
fn empty(mut dir: OwnedFd, is_over: impl Fn() -> bool) -> Result<(), Errno> {
    let mut way: Vec<Level> = Vec::new();
    loop {
        if is_over() {
            return Err(Errno::CANCELED);
        }
        if let Some(name) = remove_files(&dir)? {
            let above = identity(&dir)?;
            let below = openat(&dir, &name, DIRECTORY, Mode::empty())?;
            way.push(Level { name, above });
            dir = below;
            continue;
        }
        let Some(level) = way.pop() else { return Ok(()) };
        let above = openat(&dir, c"..", DIRECTORY, Mode::empty())?;
        if identity(&above)? != level.above {
            // Somebody has moved the directory elsewhere in the meantime.
            return Err(Errno::BUSY);
        }
        unlinkat(&above, &level.name, AtFlags::REMOVEDIR)?;
        dir = above;
    }
}

/// Removes files until there is a directory; its name, or nothing when no entry is left.
fn remove_files(dir: &OwnedFd) -> Result<Option<CString>, Errno> {
    let mut below = None;
    let mut problem = None;
    read_names(dir, |name, kind| {
        let name = name.to_owned();
        let removed = if kind == FileType::Directory {
            Err(Errno::ISDIR)
        } else {
            unlinkat(dir, &name, AtFlags::empty())
        };
        match removed {
            Ok(()) | Err(Errno::NOENT) => true,
            Err(Errno::ISDIR) => {
                below = Some(name);
                false
            }
            Err(error) => {
                problem = Some(error);
                false
            }
        }
    })?;
    problem.map_or(Ok(below), Err)
}

fn identity(dir: &OwnedFd) -> Result<Identity, Errno> {
    fstat(dir).map(|stat| (stat.st_dev, stat.st_ino))
}
