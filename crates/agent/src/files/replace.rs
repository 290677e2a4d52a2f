//! Replacing a file's contents or mode. New contents go to a file of another name in the same
//! directory, which then takes the name: a reader sees the old file or the new one, whole.

use std::os::fd::OwnedFd;
use std::sync::Mutex;

use proto::{EntryKind, GuestErrorKind, Precondition, Reply};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, Stat, chmodat, fchmod, fstat, openat};
use rustix::fs::{readlinkat, renameat_with, statat, unlinkat};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use super::list::{etag, kind_of};
use super::mkdir::make_all;
use super::path::{GuestPath, Place, Root};
use super::read::regular;
use super::{Answer, Refusal, fail, refusal};
use crate::hold::hold;
use crate::stream::{Inbound, Stream};

/// Links that are followed from one to the next, as in the kernel.
const LINKS_MAX: usize = 40;

/// Permission bits of a new file.
const NEW_FILE_MODE: u32 = 0o644;

/// A file under a name of its own, removed when dropped unless it has taken the place of another.
#[derive(Debug)]
pub struct TempFile {
    place: Place,
    temp_name: String,
    pub file: OwnedFd,
    in_place: bool,
}

impl TempFile {
    /// Makes an empty file beside the one at `place`.
    pub fn create(place: Place) -> Result<Self, Errno> {
        let temp_name = temp_name()?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&place.dir, &temp_name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Self { place, temp_name, file, in_place: false })
    }

    /// Gives the file its mode and its name; what it then is.
    pub fn take_place(self, mode: u32) -> Result<Stat, Errno> {
        self.rename(mode, RenameFlags::empty())
    }

    /// As [`take_place`](Self::take_place), but only where there is nothing.
    pub fn take_free_place(self, mode: u32) -> Result<Stat, Errno> {
        self.rename(mode, RenameFlags::NOREPLACE)
    }

    fn rename(mut self, mode: u32, flags: RenameFlags) -> Result<Stat, Errno> {
        fchmod(&self.file, Mode::from_raw_mode(mode))?;
        let dir = &self.place.dir;
        renameat_with(dir, &self.temp_name, dir, &self.place.name, flags)?;
        self.in_place = true;
        fstat(&self.file)
    }
}

/// A name that nobody else uses.
pub fn temp_name() -> Result<String, Errno> {
    let mut random = [0; 8];
    getrandom(&mut random, GetRandomFlags::empty())?;
    Ok(format!(".stacyvm-{:016x}", u64::from_ne_bytes(random)))
}

pub fn write_all(file: &OwnedFd, mut data: &[u8]) -> Result<(), Errno> {
    while !data.is_empty() {
        match rustix::io::write(file, data) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => data = &data[count..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.in_place {
            let _ = unlinkat(&self.place.dir, &self.temp_name, AtFlags::empty());
        }
    }
}

/// A file about to be written.
#[derive(Debug)]
pub struct NewFile {
    path: GuestPath,
    temp: TempFile,
    /// Permission bits of the file that is replaced.
    old_mode: Option<u32>,
    /// What must hold of that file.
    only: Option<Precondition>,
}

impl NewFile {
    /// Finds the place of the file, through links to the file that they name, and makes its
    /// replacement.
    pub fn create(
        root: Root<'_>,
        path: &GuestPath,
        parents: bool,
        only: Option<Precondition>,
    ) -> Answer<Self> {
        if parents && let Some((parent, _)) = path.split() {
            make_all(root, &parent)?;
        }
        let (place, found) = follow(root, path)?;
        let old_mode = match found {
            Some(stat) => {
                regular(path, kind_of(&stat))?;
                // Set-id bits are not carried over to contents that somebody else chose.
                Some(stat.st_mode & 0o777)
            }
            None => None,
        };
        // Checked again when it counts; here it spares the bytes a way for nothing.
        holds(only.as_ref(), found.as_ref(), path)?;
        let temp = TempFile::create(place).map_err(|error| fail(path.as_str(), error))?;
        Ok(Self { path: path.clone(), temp, old_mode, only })
    }

    /// Writes what the stream brings and answers; with nothing if the stream was given up, and
    /// then nothing has changed.
    pub fn receive(self, mode: Option<u32>, stream: &Stream) -> Answer<Option<Reply>> {
        let mut bytes = 0;
        loop {
            match stream.wait_inbound() {
                Inbound::Data(data) => {
                    write_all(&self.temp.file, &data)
                        .map_err(|error| fail(self.path.as_str(), error))?;
                    bytes += data.len() as u64;
                    stream.consumed(data.len());
                }
                Inbound::End => break,
                Inbound::Gone => return Ok(None),
            }
        }
        let mode = mode.or(self.old_mode).unwrap_or(NEW_FILE_MODE);
        let Self { path, temp, old_mode: _, only } = self;
        let stat = match only {
            None => temp.take_place(mode).map_err(|error| fail(path.as_str(), error))?,
            Some(only) => replace_if(temp, mode, &only, &path)?,
        };
        Ok(Some(Reply::Stored { bytes, etag: etag(&stat) }))
    }
}

/// Gives a file its name if what is said of the old one holds. Calls of this kind take turns, so
/// that of two with one condition the second sees what the first did; a job of the sandbox that
/// writes at the same moment is not kept from it.
fn replace_if(temp: TempFile, mode: u32, only: &Precondition, path: &GuestPath) -> Answer<Stat> {
    static TURN: Mutex<()> = Mutex::new(());
    let failed = |error| fail(path.as_str(), error);
    let _turn = hold(&TURN);
    if *only == Precondition::Absent {
        return temp.take_free_place(mode).map_err(|error| match error {
            Errno::EXIST => changed(path),
            error => failed(error),
        });
    }
    let found = match statat(&temp.place.dir, &temp.place.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Some(stat),
        Err(Errno::NOENT) => None,
        Err(error) => return Err(failed(error)),
    };
    holds(Some(only), found.as_ref(), path)?;
    temp.take_place(mode).map_err(failed)
}

fn holds(only: Option<&Precondition>, found: Option<&Stat>, path: &GuestPath) -> Answer<()> {
    let holds = match (only, found) {
        (None, _) => true,
        (Some(Precondition::Exists), found) => found.is_some(),
        (Some(Precondition::Absent), found) => found.is_none(),
        (Some(Precondition::Is { etags }), Some(stat)) => etags.contains(&etag(stat)),
        (Some(Precondition::Is { .. }), None) => false,
    };
    holds.then_some(()).ok_or_else(|| changed(path))
}

fn changed(path: &GuestPath) -> Refusal {
    let message = format!("{}: the file is not as the condition says", path.as_str());
    refusal(GuestErrorKind::Changed, message)
}

/// The place of the file that a path leads to through any number of links, and what is there.
fn follow(root: Root<'_>, path: &GuestPath) -> Answer<(Place, Option<Stat>)> {
    let mut path = path.clone();
    for _ in 0..LINKS_MAX {
        let failed = |error| fail(path.as_str(), error);
        if path.split().is_none() {
            // It ends in `..` or is the root: a directory whatever it is.
            return Err(fail(path.as_str(), Errno::ISDIR));
        }
        let place = root.place(&path)?;
        let stat = match statat(&place.dir, &place.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok((place, None)),
            Err(error) => return Err(failed(error)),
        };
        if kind_of(&stat) != EntryKind::Symlink {
            return Ok((place, Some(stat)));
        }
        let target = readlinkat(&place.dir, &place.name, Vec::new()).map_err(failed)?;
        let Ok(target) = target.into_string() else {
            let message = format!("{}: it is a link to a name that is not UTF-8", path.as_str());
            return Err(refusal(GuestErrorKind::PathInvalid, message));
        };
        let next = match path.split() {
            Some((parent, _)) if !target.starts_with('/') => parent.join(&target),
            Some(_) | None => target,
        };
        path = GuestPath::parse(&next)?;
    }
    Err(fail(path.as_str(), Errno::LOOP))
}

/// Sets permission bits; a link is followed.
pub fn chmod(root: Root<'_>, path: &GuestPath, mode: u32) -> Answer<()> {
    let failed = |error| fail(path.as_str(), error);
    let file = root.open(path, OFlags::PATH).map_err(failed)?;
    // The file itself may not be readable, and a mode cannot be set through a descriptor of a
    // bare path; its name in /proc leads to that very file without another resolution.
    let itself = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    chmodat(CWD, itself, Mode::from_raw_mode(mode), AtFlags::empty()).map_err(failed)
}
