//! Writing a tree as a tar stream. Members have paths relative to the directory, in the order of
//! names; sockets, pipes and devices are left out, as are file systems that the kernel makes up.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, SeekFrom, Stat, fstat, openat, readlinkat, seek};
use rustix::io::Errno;

use crate::error::Error;
use crate::format::{BLOCK_BYTES, Header, flag, padding};
use crate::name::PATH_BYTES_MAX;
use crate::walk::{Identity, Step, Walk, identity};

/// Bytes of a file that are read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Files with several names of which the first is remembered; later ones are packed once more.
const LINKS_MAX: usize = 65_536;

/// What is packed.
#[derive(Debug)]
pub enum Top {
    /// All that is beneath a directory, not the directory itself.
    Directory(OwnedFd),
    /// One entry of a directory, under its own name.
    Entry(OwnedFd, CString),
}

struct Packer<'a> {
    out: &'a mut dyn Write,
    /// Files with several names, and the first of them.
    seen: HashMap<Identity, Vec<u8>>,
    buffer: Vec<u8>,
}

/// Writes the archive, to its last block.
pub fn pack(top: Top, out: &mut dyn Write) -> Result<(), Error> {
    let mut packer = Packer { out, seen: HashMap::new(), buffer: vec![0; CHUNK_BYTES] };
    match top {
        Top::Directory(dir) => packer.tree(Walk::new(dir)?)?,
        Top::Entry(dir, name) => {
            let stat = rustix::fs::statat(&dir, &name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| Error::file(name.to_bytes(), error))?;
            packer.member(&dir, (&name, name.to_bytes()), &stat)?;
        }
    }
    packer.write(&end())?;
    packer.out.flush().map_err(Error::Stream)
}

impl Packer<'_> {
    fn tree(&mut self, mut walk: Walk) -> Result<(), Error> {
        while let Some(step) = walk.step()? {
            let Step::Entry(name, stat) = step else { continue };
            let path = walk.path_of(&name);
            if path.len() > PATH_BYTES_MAX {
                return Err(Error::limit("path_bytes", PATH_BYTES_MAX as u64, &path));
            }
            self.member(walk.dir(), (&name, &path), &stat)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                walk.enter(&name)?;
            }
        }
        Ok(())
    }

    fn member(
        &mut self,
        dir: &OwnedFd,
        (name, path): (&CStr, &[u8]),
        stat: &Stat,
    ) -> Result<(), Error> {
        let failed = |error| Error::file(path, error);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let mut header = header(path, stat);
                header.flag = flag::DIRECTORY;
                header.name.push(b'/');
                self.write(&header.encode())
            }
            FileType::Symlink => {
                let target = match readlinkat(dir, name, Vec::new()) {
                    Ok(target) => target,
                    // It is gone, or something else by now.
                    Err(Errno::NOENT | Errno::INVAL) => return Ok(()),
                    Err(error) => return Err(failed(error)),
                };
                let link = target.into_bytes();
                let header = Header { flag: flag::SYMLINK, link, ..header(path, stat) };
                self.write(&header.encode())
            }
            FileType::RegularFile => self.file(dir, (name, path)),
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Ok(()),
        }
    }

    fn file(&mut self, dir: &OwnedFd, (name, path): (&CStr, &[u8])) -> Result<(), Error> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let failed = |error| Error::file(path, error);
        let file = match openat(dir, name, flags, Mode::empty()) {
            Ok(file) => file,
            // It is gone, or a link, a socket or a device by now.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        // What was opened counts, not what was there before.
        let stat = fstat(&file).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.seen.get(&identity(&stat)) {
                let link = first.clone();
                let header = Header { flag: flag::HARD_LINK, link, ..header(path, &stat) };
                return self.write(&header.encode());
            }
            if self.seen.len() < LINKS_MAX {
                self.seen.insert(identity(&stat), path.to_vec());
            }
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let header = Header { flag: flag::FILE, size, ..header(path, &stat) };
        self.write(&header.encode())?;
        self.contents(&file, path, &stat)?;
        self.write(&[0; BLOCK_BYTES][..padding(size)])
    }

    /// As many bytes as the header says; holes are not read.
    fn contents(&mut self, file: &OwnedFd, path: &[u8], stat: &Stat) -> Result<(), Error> {
        let mut left = u64::try_from(stat.st_size).unwrap_or(0);
        let sparse = stat.st_blocks.saturating_mul(512) < stat.st_size;
        let mut at = 0;
        while left > 0 {
            if sparse {
                let hole = hole(file, at).map_err(|error| Error::file(path, error))?.min(left);
                self.zeros(hole)?;
                at += hole;
                left -= hole;
                if left == 0 {
                    break;
                }
            }
            let wanted = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            match rustix::io::pread(file, &mut self.buffer[..wanted], at) {
                Ok(0) => {
                    let path = String::from_utf8_lossy(path).into_owned();
                    return Err(Error::Changed { path });
                }
                Ok(count) => {
                    self.out.write_all(&self.buffer[..count]).map_err(Error::Stream)?;
                    at += count as u64;
                    left -= count as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(Error::file(path, error)),
            }
        }
        Ok(())
    }

    fn zeros(&mut self, mut count: u64) -> Result<(), Error> {
        static ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];
        while count > 0 {
            let now = usize::try_from(count).unwrap_or(ZEROS.len()).min(ZEROS.len());
            self.write(&ZEROS[..now])?;
            count -= now as u64;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(Error::Stream)
    }
}

/// How many bytes from `at` on are a hole; more than the file has if no data follows.
fn hole(file: &OwnedFd, at: u64) -> Result<u64, Errno> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(data) => Ok(data.saturating_sub(at)),
        Err(Errno::NXIO) => {
            // Also the answer past the end: of a file that has shrunk, nothing is a hole.
            let end = seek(file, SeekFrom::End(0))?;
            Ok(end.saturating_sub(at))
        }
        Err(Errno::INVAL) => Ok(0),
        Err(error) => Err(error),
    }
}

/// A member as bytes: a file with its contents, or a directory. For those whose files are in no
/// file system.
pub fn encode(path: &str, mode: u32, contents: Option<&[u8]>) -> Vec<u8> {
    let mut header = Header { name: path.into(), mode, flag: flag::FILE, ..Header::default() };
    if let Some(contents) = contents {
        header.size = contents.len() as u64;
    } else {
        header.flag = flag::DIRECTORY;
        header.name.push(b'/');
    }
    let mut bytes = header.encode();
    bytes.extend_from_slice(contents.unwrap_or_default());
    bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    bytes
}

/// What stands behind the last member.
pub fn end() -> [u8; 2 * BLOCK_BYTES] {
    [0; 2 * BLOCK_BYTES]
}

/// What all kinds of members share.
fn header(path: &[u8], stat: &Stat) -> Header {
    Header {
        name: path.to_vec(),
        flag: flag::FILE,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: 0,
        mtime: stat.st_mtime,
        link: Vec::new(),
    }
}
