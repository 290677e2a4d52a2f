//! Making files from a tar stream, beneath a directory. The directory of every member is resolved
//! anew beneath it, with no link followed, so neither a member nor anybody who changes the tree
//! meanwhile leads a later member elsewhere. Files appear whole, under their names, or not at all.

use std::io::BufRead;
use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, fchmod, ftruncate,
    futimens, linkat, mkdirat, openat, openat2, renameat, seek, statat, symlinkat, unlinkat,
    utimensat,
};
use rustix::fs::{SeekFrom, UTIME_OMIT};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::Error;
use crate::name::{self, Bad, NAME_BYTES_MAX, PATH_BYTES_MAX};
use crate::reader::{Kind, Member, Reader};

/// Permission bits that a member may have; those that lend an identity are dropped.
const MODE_BITS: u32 = 0o777;

/// Permission bits of a directory while it is filled.
const DIRECTORY_MODE: u32 = 0o755;

/// How often a resolution is tried again that a concurrent rename disturbed.
const RESOLVE_TRIES: usize = 64;

/// Bytes of directories' paths that are remembered, to give them their modes and times when they
/// are full. Later ones keep the time of their last change.
const LATER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Zeros of at least this length become a hole.
const HOLE_BYTES: usize = 4096;

/// What an archive may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Members.
    pub entries: u64,
    /// Bytes in all files together.
    pub bytes: u64,
}

/// What an archive came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Members.
    pub entries: u64,
    /// Bytes in all files together.
    pub bytes: u64,
}

/// A directory that this archive made, whose mode and time are set when it is full.
struct Later {
    path: Vec<u8>,
    mode: u32,
    modified: (i64, u32),
}

struct Unpacker<'a> {
    target: &'a OwnedFd,
    limits: Limits,
    done: Unpacked,
    later: Vec<Later>,
    later_bytes: usize,
    /// The directory of the member before, which mostly is that of the next one too.
    last: Option<(Vec<u8>, OwnedFd)>,
}

/// Unpacks beneath a directory. What was unpacked before a failure stays.
pub fn unpack(
    target: &OwnedFd,
    source: &mut dyn BufRead,
    limits: Limits,
) -> Result<Unpacked, Error> {
    let mut unpacker = Unpacker {
        target,
        limits,
        done: Unpacked::default(),
        later: Vec::new(),
        later_bytes: 0,
        last: None,
    };
    let mut reader = Reader::new(source);
    let result = loop {
        match reader.next_member() {
            Ok(Some(member)) => {
                if let Err(error) = unpacker.member(&member, &mut reader) {
                    break Err(error);
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    // Also after a failure: directories are not left writable for less than they should be.
    let finished = unpacker.finish();
    result.and(finished).map(|()| unpacker.done)
}

impl Unpacker<'_> {
    fn member(&mut self, member: &Member, reader: &mut Reader<'_>) -> Result<(), Error> {
        let path = plain(&member.path, &member.path)?;
        self.done.entries += 1;
        if self.done.entries > self.limits.entries {
            return Err(Error::limit("entries", self.limits.entries, &member.path));
        }
        let bytes = self.done.bytes.checked_add(member.size);
        match bytes.filter(|bytes| *bytes <= self.limits.bytes) {
            Some(bytes) => self.done.bytes = bytes,
            None => return Err(Error::limit("bytes", self.limits.bytes, &member.path)),
        }
        if path.is_empty() {
            let directory = member.kind == Kind::Directory;
            let problem = "it would take the place of the directory itself";
            return if directory { Ok(()) } else { Err(Error::invalid(&member.path, problem)) };
        }
        let failed = |error| blocked(&member.path, error);
        if member.kind == Kind::Directory {
            return self.directory(&path, member);
        }
        let linked = match member.kind {
            Kind::HardLink => Some(plain(&member.link, &member.path)?),
            Kind::File | Kind::Directory | Kind::Symlink => None,
        };
        let (parent, name) = name::split(&path);
        self.enter(parent, &member.path)?;
        let Some((_, dir)) = &self.last else { return Err(failed(Errno::NOENT)) };
        match (member.kind, linked) {
            (Kind::File, _) => file(dir, name, member, reader),
            (Kind::Symlink, _) => symlink(dir, name, member),
            (Kind::HardLink, Some(linked)) => {
                let (of, old) = name::split(&linked);
                let from = open(self.target, of).map_err(failed)?;
                hard_link((&from, old), (dir, name)).map_err(failed)
            }
            (Kind::Directory | Kind::HardLink, _) => Ok(()),
        }
    }

    fn directory(&mut self, path: &[u8], member: &Member) -> Result<(), Error> {
        let (parent, name) = name::split(path);
        self.enter(parent, &member.path)?;
        let failed = |error| blocked(&member.path, error);
        let Some((_, dir)) = &self.last else { return Err(failed(Errno::NOENT)) };
        match mkdirat(dir, name, Mode::from_raw_mode(DIRECTORY_MODE)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
                return match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => Ok(()),
                    FileType::Symlink => Err(failed(Errno::LOOP)),
                    FileType::RegularFile
                    | FileType::Fifo
                    | FileType::Socket
                    | FileType::CharacterDevice
                    | FileType::BlockDevice
                    | FileType::Unknown => Err(failed(Errno::NOTDIR)),
                };
            }
            Err(error) => return Err(failed(error)),
        }
        let later =
            Later { path: path.to_vec(), mode: member.mode & MODE_BITS, modified: member.modified };
        self.later_bytes += path.len();
        if self.later_bytes > LATER_BYTES_MAX {
            let mode = later.mode | 0o700;
            return set_directory(self.target, &Later { mode, ..later }).map_err(failed);
        }
        self.later.push(later);
        Ok(())
    }

    /// Goes to a directory, and makes it where it is missing.
    fn enter(&mut self, path: &[u8], member: &[u8]) -> Result<(), Error> {
        if self.last.as_ref().is_some_and(|(last, _)| last == path) {
            return Ok(());
        }
        let failed = |error| blocked(member, error);
        let dir = match open(self.target, path) {
            Err(Errno::NOENT) => {
                let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
                let ends: Vec<_> = ends.map(|(at, _)| at).chain([path.len()]).collect();
                for end in ends {
                    let (parent, name) = name::split(&path[..end]);
                    let parent = open(self.target, parent).map_err(failed)?;
                    match mkdirat(&parent, name, Mode::from_raw_mode(DIRECTORY_MODE)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(failed(error)),
                    }
                }
                open(self.target, path)
            }
            other => other,
        };
        self.last = Some((path.to_vec(), dir.map_err(failed)?));
        Ok(())
    }

    /// Gives directories their modes and times, the innermost first.
    fn finish(&mut self) -> Result<(), Error> {
        for later in std::mem::take(&mut self.later).iter().rev() {
            match set_directory(self.target, later) {
                // Somebody has taken it away in the meantime.
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(Error::file(&later.path, error)),
            }
        }
        Ok(())
    }
}

fn plain(path: &[u8], member: &[u8]) -> Result<Vec<u8>, Error> {
    name::plain(path).map_err(|bad| match bad {
        Bad::Forbidden(problem) => Error::invalid(member, problem),
        Bad::Long("name_bytes", _) => Error::limit("name_bytes", NAME_BYTES_MAX as u64, member),
        Bad::Long(..) => Error::limit("path_bytes", PATH_BYTES_MAX as u64, member),
    })
}

/// A refusal of the kernel that means that the member would lead elsewhere is the archive's.
fn blocked(member: &[u8], error: Errno) -> Error {
    match error {
        Errno::LOOP => Error::invalid(member, "a link is in its way"),
        Errno::XDEV => Error::invalid(member, "it leads out of the directory"),
        Errno::NOENT => {
            Error::invalid(member, "what it is a link to, or its directory, is missing")
        }
        error => Error::file(member, error),
    }
}

/// Opens a directory beneath another, itself for the empty path.
fn open(target: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut last = Errno::AGAIN;
    for _ in 0..RESOLVE_TRIES {
        // A directory that may be entered but not read is good enough.
        let opened = match openat2(target, path, flags, Mode::empty(), resolve) {
            Err(Errno::ACCESS) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                openat2(target, path, flags, Mode::empty(), resolve)
            }
            other => other,
        };
        match opened {
            Err(error @ (Errno::AGAIN | Errno::INTR)) => last = error,
            other => return other,
        }
    }
    Err(last)
}

fn set_directory(target: &OwnedFd, later: &Later) -> Result<(), Errno> {
    let dir = open(target, &later.path)?;
    futimens(&dir, &times(later.modified))?;
    fchmod(&dir, Mode::from_raw_mode(later.mode))
}

fn times((seconds, nanos): (i64, u32)) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: i64::from(nanos) },
    }
}

/// A name of its own beside what it will replace; removed when dropped unless it has done so.
struct Temporary<'a> {
    dir: &'a OwnedFd,
    name: String,
    placed: bool,
}

impl<'a> Temporary<'a> {
    fn new(dir: &'a OwnedFd) -> Result<Self, Errno> {
        let mut random = [0; 8];
        getrandom(&mut random, GetRandomFlags::empty())?;
        let name = format!(".stacyvm-{:016x}", u64::from_ne_bytes(random));
        Ok(Self { dir, name, placed: false })
    }

    fn place(mut self, name: &[u8]) -> Result<(), Errno> {
        renameat(self.dir, &self.name, self.dir, name)?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.placed {
            let _ = unlinkat(self.dir, &self.name, AtFlags::empty());
        }
    }
}

fn file(dir: &OwnedFd, name: &[u8], member: &Member, reader: &mut Reader<'_>) -> Result<(), Error> {
    let failed = |error| Error::file(&member.path, error);
    let temporary = Temporary::new(dir).map_err(failed)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(dir, &temporary.name, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    let mut hole = false;
    loop {
        let bytes = reader.contents()?;
        if bytes.is_empty() {
            break;
        }
        let count = bytes.len();
        hole = bytes.len() >= HOLE_BYTES && bytes.iter().all(|byte| *byte == 0);
        if hole {
            let over = i64::try_from(count).unwrap_or(i64::MAX);
            seek(&file, SeekFrom::Current(over)).map_err(failed)?;
        } else {
            write_all(&file, bytes).map_err(failed)?;
        }
        reader.consume(count);
    }
    if hole {
        ftruncate(&file, member.size).map_err(failed)?;
    }
    futimens(&file, &times(member.modified)).map_err(failed)?;
    fchmod(&file, Mode::from_raw_mode(member.mode & MODE_BITS)).map_err(failed)?;
    temporary.place(name).map_err(failed)
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn symlink(dir: &OwnedFd, name: &[u8], member: &Member) -> Result<(), Error> {
    if member.link.is_empty() || member.link.contains(&0) {
        return Err(Error::invalid(&member.path, "it is a link to nothing"));
    }
    if member.link.len() > PATH_BYTES_MAX {
        return Err(Error::limit("path_bytes", PATH_BYTES_MAX as u64, &member.path));
    }
    let failed = |error| Error::file(&member.path, error);
    let temporary = Temporary::new(dir).map_err(failed)?;
    symlinkat(member.link.as_slice(), dir, &temporary.name).map_err(failed)?;
    let times = times(member.modified);
    utimensat(dir, &temporary.name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    temporary.place(name).map_err(failed)
}

/// Gives a file another name. A link is given the name itself, never what it leads to.
fn hard_link((from, old): (&OwnedFd, &[u8]), (dir, name): (&OwnedFd, &[u8])) -> Result<(), Errno> {
    let temporary = Temporary::new(dir)?;
    linkat(from, old, dir, &temporary.name, AtFlags::empty())?;
    let linked = statat(dir, &temporary.name, AtFlags::SYMLINK_NOFOLLOW)?;
    let there = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    if there.is_ok_and(|there| (there.st_dev, there.st_ino) == (linked.st_dev, linked.st_ino)) {
        // A rename between names of one file does nothing, and would leave the other name.
        return Ok(());
    }
    temporary.place(name)
}
