//! Small files beneath an open directory: kernel interface files and the helper's own records.
//!
//! Everything is named relative to a descriptor, never by a path that could have been swapped.
//! Called by `cgroup`, `claims`, `place` and `create`.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::Errno;

/// The most that is read of one file: kernel counters and our records are far smaller, except for
/// the list of a crowded cgroup's processes, of which a part is enough at a time.
const READ_BYTES_MAX: usize = 64 * 1024;

/// Opens a directory for reading, never through a symbolic link.
pub fn open_dir(dir: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Writes a value to an existing file in one call, as kernel interface files want it.
pub fn write(dir: impl AsFd, name: &str, value: &str) -> Result<(), Errno> {
    let file = rustix::fs::openat(dir, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    let written = rustix::io::write(&file, value.as_bytes())?;
    if written == value.len() { Ok(()) } else { Err(Errno::IO) }
}

/// Makes a file that must not exist yet, readable by its owner only.
pub fn create(dir: impl AsFd, name: &str, content: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?;
    let written = rustix::io::write(&file, content)?;
    if written == content.len() { Ok(()) } else { Err(Errno::NOSPC) }
}

/// Reads the start of a file, at most 64 KiB.
pub fn read(dir: impl AsFd, name: &str) -> Result<String, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let mut content = Vec::with_capacity(READ_BYTES_MAX);
    loop {
        let before = content.len();
        rustix::io::retry_on_intr(|| {
            rustix::io::read(&file, rustix::buffer::spare_capacity(&mut content))
        })?;
        if content.len() == before || content.len() == content.capacity() {
            return Ok(String::from_utf8_lossy(&content).into_owned());
        }
    }
}

/// Reads a file that holds one number; `max` and the like count as the largest one.
pub fn read_number(dir: impl AsFd, name: &str) -> Result<u64, Errno> {
    read(dir, name).map(|text| text.trim().parse().unwrap_or(u64::MAX))
}

/// Reads one number of a file of `key value` lines; absent keys count as zero.
pub fn read_keyed(dir: impl AsFd, name: &str, key: &str) -> Result<u64, Errno> {
    let text = read(dir, name)?;
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let found = lines.find(|(name, _)| *name == key);
    Ok(found.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0))
}

/// The names of a directory's entries that are valid text; others are none of ours.
pub fn names(dir: impl AsFd) -> Result<Vec<String>, Errno> {
    let dir = open_dir(dir, ".")?;
    let mut space = Vec::with_capacity(16 * 1024);
    let mut entries = RawDir::new(dir, space.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        if let Ok(name) = entry?.file_name().to_str()
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Takes "it is not there" as success: right wherever the aim is that it be gone.
pub fn absent_is_fine(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Takes "it is already there" as success: right for directories that are shared.
pub fn present_is_fine(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}
