//! A way through a tree of files. It follows no link, keeps one descriptor whatever the depth, and
//! checks on the way up that it comes back to where it went down.
//!
//! The caller decides about every entry and goes down by [`Walk::enter`]; each name is looked at
//! in the directory itself, so that nothing that happens to a path on the way redirects it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat, fstat, fstatfs, openat, statat};
use rustix::io::Errno;

use crate::error::Error;

/// How directories are opened: the name itself, never what a link of that name leads to.
pub const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Names of one directory that are held at once; some 50 MB of them.
pub const NAMES_MAX: usize = 1_000_000;

/// Buffer for reading directories.
const BUFFER_BYTES: usize = 32 * 1024;

/// File systems whose files are made by the kernel as they are read: proc, sysfs, both cgroup
/// file systems, debugfs, tracefs, devpts, securityfs, bpf, mqueue.
const PSEUDO: [u32; 10] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0x1cd1,
    0x7363_6673,
    0xcafe_4a11,
    0x1980_0202,
];

/// What makes two descriptors the same file.
pub type Identity = (u64, u64);

/// Which file a description is of.
pub fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

/// A directory that the walk will come back to.
#[derive(Debug)]
struct Level {
    identity: Identity,
    /// Names still to be looked at, the next one last.
    pending: Vec<CString>,
    /// How long the path to it is.
    path_len: usize,
}

/// A walk.
#[derive(Debug)]
pub struct Walk {
    dir: OwnedFd,
    device: u64,
    above: Vec<Level>,
    pending: Vec<CString>,
    path: Vec<u8>,
}

/// What comes next.
#[derive(Debug)]
pub enum Step {
    /// An entry of the directory where the walk is.
    Entry(CString, Stat),
    /// All of a directory has been seen; the walk is in the one above it again.
    Left,
}

impl Walk {
    /// A walk through what is beneath a directory.
    pub fn new(dir: OwnedFd) -> Result<Self, Error> {
        let stat = fstat(&dir).map_err(|error| Error::file(b".", error))?;
        let pending = names(&dir, b".")?;
        Ok(Self { dir, device: stat.st_dev, above: Vec::new(), pending, path: Vec::new() })
    }

    /// The directory where the walk is.
    pub fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// How many directories are above it, up to where the walk began.
    pub fn depth(&self) -> usize {
        self.above.len()
    }

    /// The path of a name in that directory, beneath where the walk began.
    pub fn path_of(&self, name: &CStr) -> Vec<u8> {
        let mut path = self.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        path
    }

    /// The next entry, in the order of names. What was removed meanwhile is left out.
    pub fn step(&mut self) -> Result<Option<Step>, Error> {
        while let Some(name) = self.pending.pop() {
            match statat(&self.dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => return Ok(Some(Step::Entry(name, stat))),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(Error::file(&self.path_of(&name), error)),
            }
        }
        let Some(level) = self.above.pop() else { return Ok(None) };
        let failed = |error| Error::file(&self.path, error);
        let above = openat(&self.dir, c"..", DIRECTORY, Mode::empty()).map_err(failed)?;
        let stat = fstat(&above).map_err(failed)?;
        if identity(&stat) != level.identity {
            // Somebody has moved the directory elsewhere in the meantime.
            return Err(failed(Errno::BUSY));
        }
        self.dir = above;
        self.device = stat.st_dev;
        self.pending = level.pending;
        self.path.truncate(level.path_len);
        Ok(Some(Step::Left))
    }

    /// Goes down into a directory of the one where the walk is. Not if it is gone, no directory
    /// any more, or of a file system that the kernel makes up; then the walk stays where it is.
    pub fn enter(&mut self, name: &CStr) -> Result<bool, Error> {
        let path = self.path_of(name);
        let failed = |error| Error::file(&path, error);
        let below = match openat(&self.dir, name, DIRECTORY, Mode::empty()) {
            Ok(below) => below,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        let stat = fstat(&below).map_err(failed)?;
        if stat.st_dev != self.device && is_pseudo(&below).map_err(failed)? {
            return Ok(false);
        }
        let here = fstat(&self.dir).map_err(failed)?;
        let names = names(&below, &path)?;
        self.above.push(Level {
            identity: identity(&here),
            pending: std::mem::replace(&mut self.pending, names),
            path_len: self.path.len(),
        });
        self.dir = below;
        self.device = stat.st_dev;
        self.path = path;
        Ok(true)
    }
}

fn is_pseudo(dir: &OwnedFd) -> Result<bool, Errno> {
    let kind = fstatfs(dir)?.f_type;
    Ok(u32::try_from(kind).is_ok_and(|kind| PSEUDO.contains(&kind)))
}

/// The names in a directory, the first one last.
fn names(dir: &OwnedFd, path: &[u8]) -> Result<Vec<CString>, Error> {
    let mut names = Vec::new();
    read_names(dir, |name, _| {
        names.push(name.to_owned());
        names.len() <= NAMES_MAX
    })
    .map_err(|error| Error::file(path, error))?;
    if names.len() > NAMES_MAX {
        return Err(Error::limit("directory_entries", NAMES_MAX as u64, path));
    }
    names.sort_unstable_by(|one, other| other.cmp(one));
    Ok(names)
}

/// Reads a directory's names, but for `.` and `..`, in no order, until `each` says no.
pub fn read_names(
    dir: impl AsFd,
    mut each: impl FnMut(&CStr, FileType) -> bool,
) -> Result<(), Errno> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." && !each(name, entry.file_type()) {
            break;
        }
    }
    Ok(())
}
