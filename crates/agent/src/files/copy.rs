//! Copying. A file appears under its new name whole; a directory is filled under another name
//! beside it and then gets its own, so that it too appears whole or not at all. No link is
//! followed on either side.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use archive::Walk;
use archive::walk::{DIRECTORY, Identity, Step, identity};
use proto::{EntryKind, GuestErrorKind};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, fchmod, fstat};
use rustix::fs::{SeekFrom, ftruncate, seek};
use rustix::fs::{futimens, mkdirat, openat, readlinkat, renameat_with, statat, symlinkat};
use rustix::io::Errno;

use super::list::kind_of;
use super::path::{GuestPath, Place, Root};
use super::replace::{TempFile, temp_name, write_all};
use super::{Answer, Refusal, delete, fail, refusal};
use crate::stream::Stream;

/// Bytes copied at once.
const COPY_CHUNK: usize = 256 * 1024;

/// Permission bits that a copy has of its original: those that lend an identity are dropped.
const MODE_BITS: u32 = 0o777;

/// Copies a file, or a directory with all that is in it.
pub fn copy(
    root: Root<'_>,
    (from, to): (&GuestPath, &GuestPath),
    recursive: bool,
    stream: &Stream,
) -> Answer<()> {
    let old = root.place(from)?;
    let failed = |error| fail(from.as_str(), error);
    let stat = statat(&old.dir, &old.name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    let new = root.place(to)?;
    let there = statat(&new.dir, &new.name, AtFlags::SYMLINK_NOFOLLOW).ok();
    let exists = || {
        let message = format!("to: {} exists already", to.as_str());
        refusal(GuestErrorKind::Exists, message)
    };
    if there.as_ref().is_some_and(|there| kind_of(there) == EntryKind::Directory) {
        return Err(exists());
    }
    match kind_of(&stat) {
        EntryKind::Directory if !recursive => {
            let message = format!("{}: it is a directory, and recursive is not set", from.as_str());
            Err(refusal(GuestErrorKind::IsADirectory, message))
        }
        EntryKind::Directory if there.is_some() => Err(exists()),
        EntryKind::Directory => tree((&old, from), (&new, to), stream),
        EntryKind::File => file(&old, new, stream).map_err(failed),
        EntryKind::Symlink => symlink(&old, &new).map_err(failed),
        EntryKind::Other => {
            let message = format!("{}: it is a socket, a pipe or a device", from.as_str());
            Err(refusal(GuestErrorKind::NotAFile, message))
        }
    }
}

/// Copies a regular file with its mode and time.
pub fn file(old: &Place, new: Place, stream: &Stream) -> Result<(), Errno> {
    let source = old.open(OFlags::RDONLY)?;
    let stat = fstat(&source)?;
    if kind_of(&stat) != EntryKind::File {
        return Err(Errno::STALE);
    }
    let target = TempFile::create(new)?;
    pour(&source, &target.file, stream)?;
    futimens(&target.file, &times(&stat))?;
    target.take_place(stat.st_mode & MODE_BITS).map(drop)
}

fn pour(source: &OwnedFd, target: &OwnedFd, stream: &Stream) -> Result<(), Errno> {
    let mut buffer = vec![0; COPY_CHUNK];
    let mut size = 0;
    loop {
        if stream.is_gone() {
            return Err(Errno::CANCELED);
        }
        match rustix::io::read(source, &mut buffer) {
            // The end may be a hole.
            Ok(0) => return ftruncate(target, size),
            Ok(count) => {
                size += count as u64;
                if buffer[..count].iter().all(|byte| *byte == 0) {
                    // What is empty here is not stored there.
                    seek(target, SeekFrom::Start(size))?;
                } else {
                    write_all(target, &buffer[..count])?;
                }
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

fn times(stat: &Stat) -> Timestamps {
    let stamp =
        |seconds, nanos| Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanos).unwrap_or(0) };
    Timestamps {
        last_access: stamp(stat.st_atime, stat.st_atime_nsec),
        last_modification: stamp(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Copies the link itself, over a file that may be there.
fn symlink(old: &Place, new: &Place) -> Result<(), Errno> {
    let target = readlinkat(&old.dir, &old.name, Vec::new())?;
    let temp = temp_name()?;
    symlinkat(&target, &new.dir, &temp)?;
    let renamed = rustix::fs::renameat(&new.dir, &temp, &new.dir, &new.name);
    if renamed.is_err() {
        let _ = rustix::fs::unlinkat(&new.dir, &temp, AtFlags::empty());
    }
    renamed
}

/// Copies a directory to where there is nothing.
fn tree(
    (old, from): (&Place, &GuestPath),
    (new, to): (&Place, &GuestPath),
    stream: &Stream,
) -> Answer<()> {
    let failed = |error| fail(to.as_str(), error);
    let source = old.open(OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
    let stat = fstat(&source).map_err(failed)?;
    if is_beneath(&new.dir, identity(&stat)).map_err(failed)? {
        return Err(inside(to));
    }
    let temp = temp_name().map_err(failed)?;
    mkdirat(&new.dir, &temp, Mode::RWXU).map_err(failed)?;
    let copied =
        openat(&new.dir, &temp, DIRECTORY, Mode::empty()).map_err(failed).and_then(|top| {
            let top_stat = fstat(&top).map_err(failed)?;
            let walk = Walk::new(source).map_err(|error| walked(from, &error))?;
            fill((walk, from), (top, to), stream)?;
            // By its name, as the descriptor has gone down and up again.
            let top = openat(&new.dir, &temp, DIRECTORY, Mode::empty()).map_err(failed)?;
            if identity(&fstat(&top).map_err(failed)?) != identity(&top_stat) {
                return Err(failed(Errno::STALE));
            }
            finish(&top, &stat).map_err(failed)?;
            let dir = &new.dir;
            renameat_with(dir, &temp, dir, &new.name, RenameFlags::NOREPLACE).map_err(failed)
        });
    if copied.is_err() {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(&new.dir, c".", flags, Mode::empty()).map_err(failed)?;
        let _ = delete::remove_tree(&Place { dir, name: temp });
    }
    copied
}

fn inside(to: &GuestPath) -> Refusal {
    let message = format!("to: {} is inside of what is copied", to.as_str());
    refusal(GuestErrorKind::Invalid, message)
}

fn walked(from: &GuestPath, error: &archive::Error) -> Refusal {
    match error {
        archive::Error::File { path, error } => fail(&from.join(path), *error),
        archive::Error::Limit { limit, max, .. } => {
            super::over_limit(limit, *max, error.to_string())
        }
        archive::Error::Invalid { .. }
        | archive::Error::Changed { .. }
        | archive::Error::Stream(_) => refusal(GuestErrorKind::Internal, error.to_string()),
    }
}

/// Whether a directory is the other one, or anywhere beneath it.
fn is_beneath(dir: &OwnedFd, other: Identity) -> Result<bool, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut here = identity(&fstat(dir)?);
    let mut above = openat(dir, c"..", flags, Mode::empty())?;
    loop {
        if here == other {
            return Ok(true);
        }
        let next = identity(&fstat(&above)?);
        if next == here {
            return Ok(false);
        }
        here = next;
        above = openat(&above, c"..", flags, Mode::empty())?;
    }
}

/// A directory that is being filled, on the way down.
struct Level {
    above: Identity,
    stat: Stat,
}

/// Copies what a walk finds into a directory.
fn fill(
    (mut walk, from): (Walk, &GuestPath),
    (top, to): (OwnedFd, &GuestPath),
    stream: &Stream,
) -> Answer<()> {
    let own = identity(&fstat(&top).map_err(|error| fail(to.as_str(), error))?);
    let mut dir = top;
    let mut levels: Vec<Level> = Vec::new();
    while let Some(step) = walk.step().map_err(|error| walked(from, &error))? {
        if stream.is_gone() {
            return Err(refusal(GuestErrorKind::Internal, "copy: nobody waits for it"));
        }
        let Step::Entry(name, stat) = step else {
            dir = rise(&dir, levels.pop()).map_err(|error| fail(to.as_str(), error))?;
            continue;
        };
        if identity(&stat) == own {
            return Err(inside(to));
        }
        let path = from.join(&String::from_utf8_lossy(&walk.path_of(&name)));
        let failed = |error| fail(&path, error);
        match kind_of(&stat) {
            EntryKind::Directory => {
                if walk.enter(&name).map_err(|error| walked(from, &error))? {
                    let stat = fstat(walk.dir()).map_err(failed)?;
                    let below = descend(&dir, &name).map_err(failed)?;
                    let above = identity(&fstat(&dir).map_err(failed)?);
                    levels.push(Level { above, stat });
                    dir = below;
                }
            }
            EntryKind::File | EntryKind::Symlink => {
                entry(walk.dir(), &dir, &name, stream).map_err(failed)?;
            }
            EntryKind::Other => {}
        }
    }
    Ok(())
}

fn descend(dir: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    mkdirat(dir, name, Mode::RWXU)?;
    openat(dir, name, DIRECTORY, Mode::empty())
}

/// Finishes a directory that is full and goes back to the one above it.
fn rise(dir: &OwnedFd, level: Option<Level>) -> Result<OwnedFd, Errno> {
    let Some(level) = level else { return Err(Errno::STALE) };
    let above = openat(dir, c"..", DIRECTORY, Mode::empty())?;
    if identity(&fstat(&above)?) != level.above {
        // Somebody has moved the copy elsewhere in the meantime.
        return Err(Errno::BUSY);
    }
    finish(dir, &level.stat)?;
    Ok(above)
}

fn finish(dir: &OwnedFd, stat: &Stat) -> Result<(), Errno> {
    futimens(dir, &times(stat))?;
    fchmod(dir, Mode::from_raw_mode(stat.st_mode & MODE_BITS))
}

/// Copies a file or a link of one directory into another.
fn entry(from: &OwnedFd, to: &OwnedFd, name: &CStr, stream: &Stream) -> Result<(), Errno> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let source = match openat(from, name, flags, Mode::empty()) {
        Ok(source) => source,
        Err(Errno::LOOP) => {
            let target = readlinkat(from, name, Vec::new())?;
            return symlinkat(&target, to, name);
        }
        // It is gone, or a socket by now.
        Err(Errno::NOENT | Errno::NXIO) => return Ok(()),
        Err(error) => return Err(error),
    };
    let stat = fstat(&source)?;
    if kind_of(&stat) != EntryKind::File {
        return Ok(());
    }
    let create =
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // The directory has another name until it is full, so its files may have theirs at once.
    let target = openat(to, name, create, Mode::RUSR | Mode::WUSR)?;
    pour(&source, &target, stream)?;
    futimens(&target, &times(&stat))?;
    fchmod(&target, Mode::from_raw_mode(stat.st_mode & MODE_BITS))
}
