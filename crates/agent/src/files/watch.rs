//! Following what happens to files, by the kernel's own notices. Directories are watched through
//! their descriptors, resolved beneath the root; a reader that is too slow gets `overflow` and not
//! an agent that holds more and more.

use std::collections::HashMap;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use archive::Walk;
use archive::walk::{DIRECTORY, Step};
use proto::{EntryKind, FileChange, FileEvent, Kind, Reply};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::list::kind_of;
use super::path::{GuestPath, Root};
use super::{Answer, fail, over_limit};
use crate::stream::Stream;
use crate::wake::Wake;

/// Directories that one watch may follow.
const DIRECTORIES_MAX: usize = 8192;

/// Bytes of notices that are read at once.
const BUFFER_BYTES: usize = 16 * 1024;

/// How long the second half of a move may take: the kernel says both in one breath.
const MOVE_WAIT: Duration = Duration::from_millis(10);

/// How the names begin under which calls prepare a file or a tree: nobody's business until it is
/// in its place, and then it is created there.
const TEMPORARY: &str = ".stacyvm-";

/// Both halves of a move.
const MOVES: ReadFlags = ReadFlags::MOVED_FROM.union(ReadFlags::MOVED_TO);

const NOTICES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

/// The first half of a move.
struct Leaving {
    cookie: u32,
    path: String,
    is_dir: bool,
}

/// A notice of the kernel.
struct Notice {
    wd: i32,
    flags: ReadFlags,
    cookie: u32,
    name: Option<String>,
}

struct Watcher<'a> {
    root: Root<'a>,
    top: GuestPath,
    recursive: bool,
    notices: OwnedFd,
    /// What is watched, by the kernel's number for it.
    paths: HashMap<i32, String>,
    leaving: Option<Leaving>,
    out: Vec<u8>,
}

/// Watches until the stream is given up, or the file is gone.
pub fn watch(
    root: Root<'_>,
    path: &GuestPath,
    recursive: bool,
    stream: &Arc<Stream>,
) -> Answer<Option<Reply>> {
    let failed = |error| fail(path.as_str(), error);
    let file = root.open(path, OFlags::PATH).map_err(failed)?;
    let wake = Arc::new(Wake::new().map_err(failed)?);
    let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
    let mut watcher = Watcher {
        root,
        notices: inotify::init(flags).map_err(failed)?,
        recursive,
        paths: HashMap::new(),
        leaving: None,
        out: Vec::new(),
        top: path.clone(),
    };
    watcher.add(&file, path.as_str())?;
    // The kernel tells that a file is gone once nobody holds it.
    drop(file);
    if recursive && let Ok(dir) = root.open(path, OFlags::RDONLY | OFlags::DIRECTORY) {
        watcher.descend(dir, path.as_str(), false)?;
    }
    stream.wake_with(&wake);
    if stream.reply(&Reply::Listing).is_ok() {
        match watcher.follow(stream, &wake) {
            Ok(()) => drop(stream.send_end()),
            Err(refusal) => stream.reset(refusal.kind, refusal.message),
        }
    }
    stream.close();
    Ok(None)
}

impl Watcher<'_> {
    /// Watches a file through its descriptor.
    fn add(&mut self, file: &OwnedFd, path: &str) -> Answer<()> {
        if self.paths.len() >= DIRECTORIES_MAX {
            let message = format!("path: it holds more than {DIRECTORIES_MAX} directories");
            return Err(over_limit("watches", DIRECTORIES_MAX as u64, message));
        }
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        let wd =
            inotify::add_watch(&self.notices, itself, NOTICES).map_err(|error| match error {
                // The kernel's own limit for the user.
                Errno::NOSPC => {
                    over_limit("watches", self.paths.len() as u64, "path: no watch is left")
                }
                error => fail(path, error),
            })?;
        self.paths.insert(wd, path.to_owned());
        Ok(())
    }

    /// Watches every directory beneath one; each is watched before it is read, so that nothing
    /// in between is missed.
    fn descend(&mut self, dir: OwnedFd, path: &str, tell: bool) -> Answer<()> {
        let base = GuestPath::parse(path)?;
        let failed = |error: archive::Error| fail(path, errno(&error));
        let mut walk = Walk::new(dir).map_err(failed)?;
        while let Some(step) = walk.step().map_err(failed)? {
            let Step::Entry(name, stat) = step else { continue };
            let full = base.join(&String::from_utf8_lossy(&walk.path_of(&name)));
            let is_dir = kind_of(&stat) == EntryKind::Directory;
            if tell {
                self.tell(FileChange::Created, full.clone(), None, is_dir);
            }
            if !is_dir {
                continue;
            }
            // What is gone, or closed to the job, has nothing to tell it.
            let Ok(below) = openat(walk.dir(), name.as_c_str(), DIRECTORY, Mode::empty()) else {
                continue;
            };
            self.add(&below, &full)?;
            match walk.enter(&name) {
                Ok(_) | Err(archive::Error::File { .. }) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    fn follow(&mut self, stream: &Stream, wake: &Wake) -> Answer<()> {
        let failed = |error| fail("watch", error);
        while !stream.is_gone() && !self.paths.is_empty() {
            let patience = self.leaving.is_some().then_some(MOVE_WAIT);
            let timeout = patience.and_then(|time| Timespec::try_from(time).ok());
            let mut polled = [
                PollFd::new(&self.notices, PollFlags::IN),
                PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN),
            ];
            match poll(&mut polled, timeout.as_ref()) {
                Ok(0) => self.left(),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(failed(error)),
            }
            wake.clear();
            for notice in self.read().map_err(failed)? {
                self.notice(notice)?;
            }
            if !self.out.is_empty() {
                let lines = std::mem::take(&mut self.out);
                if stream.send_all(Kind::Data, &lines).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The notices that are there.
    fn read(&self) -> Result<Vec<Notice>, Errno> {
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = inotify::Reader::new(self.notices.as_fd(), &mut buffer);
        let mut notices = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => notices.push(Notice {
                    wd: event.wd(),
                    flags: event.events(),
                    cookie: event.cookie(),
                    name: event.file_name().map(CStr::to_string_lossy).map(Into::into),
                }),
                Err(Errno::AGAIN | Errno::INTR) => return Ok(notices),
                Err(error) => return Err(error),
            }
            if reader.is_buffer_empty() {
                return Ok(notices);
            }
        }
    }

    fn notice(&mut self, notice: Notice) -> Answer<()> {
        let Notice { wd, flags, cookie, name } = notice;
        if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.left();
            let top = self.top.as_str().to_owned();
            self.tell(FileChange::Overflow, top, None, true);
            return Ok(());
        }
        if flags.contains(ReadFlags::IGNORED) {
            self.paths.remove(&wd);
            return Ok(());
        }
        if !flags.contains(ReadFlags::MOVED_TO) {
            // The second half of a move follows the first: this is another matter.
            self.left();
        }
        let Some(base) = self.paths.get(&wd).cloned() else { return Ok(()) };
        let is_dir = flags.contains(ReadFlags::ISDIR);
        let is_top = base == self.top.as_str();
        let Some(name) = name else {
            // About what is watched itself; of directories their parent has told it already.
            if flags.contains(ReadFlags::DELETE_SELF) && is_top {
                self.tell(FileChange::Deleted, base, None, is_dir);
            } else if flags.contains(ReadFlags::MOVE_SELF) && is_top {
                // Where it has gone cannot be told.
                self.tell(FileChange::Deleted, base, None, is_dir);
                self.paths.clear();
            } else if is_top && flags.intersects(ReadFlags::MODIFY | ReadFlags::ATTRIB) {
                let modified = flags.contains(ReadFlags::MODIFY);
                let change = if modified { FileChange::Modified } else { FileChange::Attrib };
                self.tell(change, base, None, is_dir);
            }
            return Ok(());
        };
        if name.starts_with(TEMPORARY) && !flags.intersects(MOVES) {
            return Ok(());
        }
        let path = if base == "/" { format!("/{name}") } else { format!("{base}/{name}") };
        if flags.contains(ReadFlags::MOVED_TO) {
            return self.arrived(path, cookie, is_dir);
        }
        if flags.contains(ReadFlags::MOVED_FROM) {
            self.leaving = Some(Leaving { cookie, path, is_dir });
        } else if flags.contains(ReadFlags::CREATE) {
            self.tell(FileChange::Created, path.clone(), None, is_dir);
            self.enter(&path, is_dir)?;
        } else if flags.contains(ReadFlags::DELETE) {
            self.tell(FileChange::Deleted, path, None, is_dir);
        } else if flags.contains(ReadFlags::MODIFY) {
            self.tell(FileChange::Modified, path, None, is_dir);
        } else if flags.contains(ReadFlags::ATTRIB) {
            self.tell(FileChange::Attrib, path, None, is_dir);
        }
        Ok(())
    }

    /// Something has got this name: by a move within what is watched, or from elsewhere.
    fn arrived(&mut self, path: String, cookie: u32, is_dir: bool) -> Answer<()> {
        match self.leaving.take() {
            Some(leaving) if leaving.cookie == cookie => {
                if is_temporary(&leaving.path) {
                    self.tell(FileChange::Created, path.clone(), None, is_dir);
                    return self.enter(&path, is_dir);
                }
                let inside = format!("{}/", leaving.path);
                for watched in self.paths.values_mut() {
                    if *watched == leaving.path {
                        watched.clone_from(&path);
                    } else if let Some(rest) = watched.strip_prefix(&inside) {
                        *watched = format!("{path}/{rest}");
                    }
                }
                self.tell(FileChange::Moved, path, Some(leaving.path), is_dir);
                Ok(())
            }
            other => {
                self.leaving = other;
                self.left();
                self.tell(FileChange::Created, path.clone(), None, is_dir);
                self.enter(&path, is_dir)
            }
        }
    }

    /// Follows a directory that is new, and tells what is in it already.
    fn enter(&mut self, path: &str, is_dir: bool) -> Answer<()> {
        if !self.recursive || !is_dir {
            return Ok(());
        }
        // It may be gone again, or another by now.
        let Ok(place) = GuestPath::parse(path).and_then(|path| self.root.place(&path)) else {
            return Ok(());
        };
        let Ok(dir) = place.open(OFlags::RDONLY | OFlags::DIRECTORY) else { return Ok(()) };
        self.add(&dir, path)?;
        self.descend(dir, path, true)
    }

    /// What was moved away has not come back under another name.
    fn left(&mut self) {
        let Some(leaving) = self.leaving.take() else { return };
        let inside = format!("{}/", leaving.path);
        let gone: Vec<i32> = self
            .paths
            .iter()
            .filter(|(_, path)| **path == leaving.path || path.starts_with(&inside))
            .map(|(wd, _)| *wd)
            .collect();
        for wd in gone {
            let _ = inotify::remove_watch(&self.notices, wd);
            self.paths.remove(&wd);
        }
        if !is_temporary(&leaving.path) {
            self.tell(FileChange::Deleted, leaving.path, None, leaving.is_dir);
        }
    }

    fn tell(&mut self, change: FileChange, path: String, from: Option<String>, is_dir: bool) {
        let event = FileEvent { change, path, from, is_dir };
        if serde_json::to_writer(&mut self.out, &event).is_ok() {
            self.out.push(b'\n');
        }
    }
}

/// Whether a file has a name under which calls prepare what then takes its place.
fn is_temporary(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with(TEMPORARY))
}

fn errno(error: &archive::Error) -> Errno {
    match error {
        archive::Error::File { error, .. } => *error,
        archive::Error::Invalid { .. }
        | archive::Error::Limit { .. }
        | archive::Error::Changed { .. }
        | archive::Error::Stream(_) => Errno::TOOBIG,
    }
}
