//! Removes directory trees that a sandbox wrote, whatever is in them.
//!
//! Trees may be a million levels deep, hold links to anywhere and directories that nobody may
//! enter. Nothing is followed: every name is taken relative to an open directory. The stack is
//! bounded: what lies too deep is first moved up. No process of the sandbox may be alive. Called by
//! `destroy`.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, RenameFlags};
use rustix::io::Errno;

/// How many directories are open at once on the way down.
const DEPTH_MAX: usize = 32;

/// Bytes of directory entries read at a time.
const ENTRIES_BYTES: usize = 8 * 1024;

/// Removes `name` in a directory with all it holds; absent is fine.
///
/// The directory itself serves as the place to move what lies too deep, under names that start with
/// `deep-`: it must be the helper's own.
pub fn remove_tree(dir: impl AsFd, name: &CStr) -> Result<(), Errno> {
    let mut walk =
        Walk { top: dir.as_fd().try_clone_to_owned().map_err(|error| from_io(&error))?, moved: 0 };
    walk.remove(&dir, name, 0)?;
    // Each round removes at least one level of what was moved up, and moves up what is below it.
    let mut next = 0;
    while next < walk.moved {
        let name = moved_name(next)?;
        let top = walk.top.try_clone().map_err(|error| from_io(&error))?;
        walk.remove(&top, &name, 0)?;
        next += 1;
    }
    Ok(())
}

struct Walk {
    top: OwnedFd,
    moved: u64,
}

impl Walk {
    fn remove(&mut self, parent: impl AsFd, name: &CStr, depth: usize) -> Result<(), Errno> {
        match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // Both mean that it is a directory.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
        match rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        if depth == DEPTH_MAX {
            return self.move_up(parent, name);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
        self.empty(&dir, depth)?;
        rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)
    }

    /// Moves a directory to the top under a fresh name, whose turn comes later.
    fn move_up(&mut self, parent: impl AsFd, name: &CStr) -> Result<(), Errno> {
        loop {
            let to = moved_name(self.moved)?;
            self.moved += 1;
            let flags = RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(&parent, name, &self.top, &to, flags) {
                // Left by a removal that was broken off; its own turn comes too.
                Err(Errno::EXIST) => {}
                other => return other,
            }
        }
    }

    fn empty(&mut self, dir: &OwnedFd, depth: usize) -> Result<(), Errno> {
        // A pass over a directory that shrinks meanwhile may miss entries: repeat until none is
        // left, which the pass that sees nothing proves.
        loop {
            let mut space = [MaybeUninit::uninit(); ENTRIES_BYTES];
            rustix::fs::seek(dir, rustix::fs::SeekFrom::Start(0))?;
            let mut entries = RawDir::new(dir, &mut space);
            let mut seen = false;
            while let Some(entry) = entries.next() {
                let entry = entry?;
                let name = entry.file_name();
                if name == c"." || name == c".." {
                    continue;
                }
                seen = true;
                if entry.file_type() == FileType::Directory
                    || entry.file_type() == FileType::Unknown
                {
                    let name = CString::from(name);
                    self.remove(dir, &name, depth + 1)?;
                } else {
                    let gone = rustix::fs::unlinkat(dir, name, AtFlags::empty());
                    crate::files::absent_is_fine(gone)?;
                }
            }
            if !seen {
                return Ok(());
            }
        }
    }
}

fn moved_name(number: u64) -> Result<CString, Errno> {
    CString::new(format!("deep-{number}")).map_err(|_| Errno::INVAL)
}

fn from_io(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn open(path: &std::path::Path) -> OwnedFd {
        OwnedFd::from(fs::File::open(path).unwrap())
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_removed() {
        let top = tempfile::tempdir().unwrap();
        let dir = open(top.path());
        let mut at = dir.try_clone().unwrap();
        rustix::fs::mkdirat(&at, "tree", Mode::RWXU).unwrap();
        at = crate::files::open_dir(&at, "tree").unwrap();
        for _ in 0..10_000 {
            rustix::fs::mkdirat(&at, "d", Mode::empty()).unwrap();
            rustix::fs::mkdirat(&at, "e", Mode::empty()).unwrap();
            at = crate::files::open_dir(&at, "d").unwrap();
        }
        remove_tree(&dir, c"tree").unwrap();
        assert_eq!(crate::files::names(&dir).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn links_are_removed_and_what_they_point_to_is_kept() {
        let (top, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(kept.path().join("file"), "kept").unwrap();
        let tree = top.path().join("tree");
        fs::create_dir_all(tree.join("inner")).unwrap();
        symlink(kept.path(), tree.join("link")).unwrap();
        symlink(kept.path(), tree.join("inner/link")).unwrap();
        symlink("nowhere", tree.join("dangling")).unwrap();
        fs::set_permissions(tree.join("inner"), fs::Permissions::from_mode(0o000)).unwrap();
        remove_tree(open(top.path()), c"tree").unwrap();
        assert!(!tree.exists());
        assert_eq!(fs::read_to_string(kept.path().join("file")).unwrap(), "kept");
    }

    #[test]
    fn a_directory_of_many_entries_is_removed() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir(top.path().join("tree")).unwrap();
        for number in 0..3000 {
            fs::write(top.path().join(format!("tree/file-{number}")), "").unwrap();
        }
        remove_tree(open(top.path()), c"tree").unwrap();
        assert!(!top.path().join("tree").exists());
        remove_tree(open(top.path()), c"tree").unwrap();
    }
}
