//! Finding files by pattern. It walks directories breadth by breadth without recursion, follows
//! no link under `**`, and is bounded in matches, entries looked at, and time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use archive::walk::read_names;
use proto::GuestErrorKind;
use rustix::fs::{AtFlags, FileType, OFlags, statat};
use rustix::io::Errno;

use super::path::{GuestPath, PATH_MAX, Root};
use super::pattern::Pattern;
use super::{Answer, over_limit, refusal};
use crate::stream::Stream;

/// Matches at most, whatever is asked for: they are held and sorted before they are sent.
const MATCHES_MAX: u32 = 100_000;

/// Directory entries that one glob looks at: more than a large source tree has.
const VISITS_MAX: u64 = 2_000_000;

/// How long one glob may take; a caller waits for all of it.
const TIME_MAX: Duration = Duration::from_secs(20);

/// One component of a pattern.
#[derive(Debug)]
enum Component {
    /// `**`: any number of directories.
    Deep,
    /// A name or a pattern for one.
    Name(Pattern),
}

/// A directory still to be searched, and for which component.
type Search = (String, usize);

struct Walk<'a> {
    root: Root<'a>,
    components: Vec<Component>,
    limit: usize,
    matches: BTreeSet<String>,
    /// What was put into `todo` once: a pattern with several `**` reaches a place on many ways.
    seen: BTreeSet<Search>,
    todo: Vec<Search>,
    visits: u64,
}

/// The paths that match, sorted.
pub fn glob(
    root: Root<'_>,
    pattern: &str,
    limit: u32,
    stream: &Stream,
) -> Answer<BTreeSet<String>> {
    let pattern = GuestPath::parse(pattern)?;
    let mut components: Vec<Component> = Vec::new();
    for name in pattern.as_str().split('/').filter(|name| !name.is_empty()) {
        match name {
            ".." => {
                let message = "pattern: it may not contain `..`";
                return Err(refusal(GuestErrorKind::PathInvalid, message));
            }
            "**" if matches!(components.last(), Some(Component::Deep)) => {}
            "**" => components.push(Component::Deep),
            name => components.push(Component::Name(Pattern::parse(name))),
        }
    }
    let mut walk = Walk {
        root,
        components,
        limit: usize::try_from(limit.min(MATCHES_MAX)).unwrap_or(0),
        matches: BTreeSet::new(),
        seen: BTreeSet::new(),
        todo: Vec::new(),
        visits: 0,
    };
    walk.reach(String::new(), 0, true)?;
    let deadline = Instant::now() + TIME_MAX;
    while let Some((dir, component)) = walk.todo.pop() {
        if stream.is_gone() {
            return Err(refusal(GuestErrorKind::Internal, "pattern: nobody waits for the matches"));
        }
        if Instant::now() > deadline {
            let max = u64::try_from(TIME_MAX.as_millis()).unwrap_or(u64::MAX);
            return Err(over_limit("time_ms", max, "pattern: it takes too long"));
        }
        walk.search(&dir, component)?;
    }
    Ok(walk.matches)
}

impl Walk<'_> {
    /// Notes that all components before `component` have matched up to `path`.
    fn reach(&mut self, path: String, component: usize, is_directory: bool) -> Answer<()> {
        let only_deep_left =
            self.components[component..].iter().all(|rest| matches!(rest, Component::Deep));
        if only_deep_left && (component == self.components.len() || !path.is_empty()) {
            self.matches.insert(if path.is_empty() { "/".to_owned() } else { path.clone() });
            if self.matches.len() > self.limit {
                let message = format!("limit: more than {} files match", self.limit);
                return Err(over_limit("matches", self.limit as u64, message));
            }
        }
        let fits = path.len() < PATH_MAX;
        if is_directory && fits && component < self.components.len() {
            let search = (path, component);
            if self.seen.insert(search.clone()) {
                self.todo.push(search);
            }
        }
        Ok(())
    }

    /// Looks into a directory for what the component names. A directory that is gone or closed
    /// to the job holds no match.
    fn search(&mut self, dir: &str, component: usize) -> Answer<()> {
        match &self.components[component] {
            Component::Deep => {
                self.reach(dir.to_owned(), component + 1, true)?;
                for (name, kind) in self.read(dir, |name| !name.starts_with('.'))? {
                    let path = format!("{dir}/{name}");
                    if kind == FileType::Directory {
                        self.reach(path, component, true)?;
                    } else if component + 1 == self.components.len() {
                        self.reach(path, component + 1, false)?;
                    }
                }
                Ok(())
            }
            Component::Name(pattern) => {
                let found = if let Some(name) = pattern.literal() {
                    vec![(name, FileType::Unknown)]
                } else {
                    let pattern = pattern.clone();
                    self.read(dir, move |name| pattern.matches(name))?
                };
                let last = component + 1 == self.components.len();
                for (name, kind) in found {
                    let path = format!("{dir}/{name}");
                    if !last || kind != FileType::Unknown || self.exists(&path) {
                        self.reach(path, component + 1, true)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn exists(&self, path: &str) -> bool {
        GuestPath::parse(path)
            .and_then(|path| self.root.place(&path))
            .is_ok_and(|place| statat(&place.dir, &place.name, AtFlags::SYMLINK_NOFOLLOW).is_ok())
    }

    /// The entries of a directory whose name is wanted.
    fn read(
        &mut self,
        dir: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Answer<Vec<(String, FileType)>> {
        let mut found = Vec::new();
        let Ok(path) = GuestPath::parse(if dir.is_empty() { "/" } else { dir }) else {
            return Ok(found);
        };
        let Ok(opened) = self.root.open(&path, OFlags::RDONLY | OFlags::DIRECTORY) else {
            return Ok(found);
        };
        let read = read_names(&opened, |name, kind| {
            self.visits += 1;
            let name = name.to_string_lossy();
            if wanted(&name) {
                let kind = if kind == FileType::Unknown { kind_at(&opened, &name) } else { kind };
                found.push((name.into_owned(), kind));
            }
            self.visits <= VISITS_MAX
        });
        if self.visits > VISITS_MAX {
            let message = format!("pattern: more than {VISITS_MAX} files would be looked at");
            return Err(over_limit("visits", VISITS_MAX, message));
        }
        match read {
            Ok(()) | Err(Errno::NOENT | Errno::ACCESS) => Ok(found),
            Err(error) => Err(super::fail(path.as_str(), error)),
        }
    }
}

fn kind_at(dir: &std::os::fd::OwnedFd, name: &str) -> FileType {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode))
}
