//! The files of the test double: a map from paths to contents.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use model::failure::Detail;
use model::{
    ArchiveLimits, ETag, Failure, FileChange, FileEvent, FileInfo, FileKind, FileMode, FileOp,
    FilePage, FileReply, Grep, GrepLine, GrepResult, Precondition, Reason, SandboxPath, Stored,
    Timestamp, Unpacked,
};
use tokio::sync::broadcast;

use crate::guest::WriteOptions;

#[derive(Clone, Debug)]
struct Node {
    /// The contents; a directory has none.
    contents: Option<Bytes>,
    mode: FileMode,
    /// Another number after every change.
    version: u64,
}

impl Node {
    fn directory(mode: FileMode) -> Self {
        Self { contents: None, mode, version: version() }
    }

    fn etag(&self) -> Option<ETag> {
        format!("{:x}", self.version).parse().ok()
    }
}

fn version() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

/// Events that a slow watcher may be behind.
const EVENTS_MAX: usize = 1024;

/// Permission bits of a new directory.
const NEW_DIRECTORY: FileMode = FileMode::from_bits(0o755);

/// A file system without links, owners or time.
#[derive(Debug)]
pub(super) struct Files {
    nodes: BTreeMap<String, Node>,
    events: broadcast::Sender<FileEvent>,
}

impl Default for Files {
    fn default() -> Self {
        let directory = Node::directory(NEW_DIRECTORY);
        let paths = ["/", "/etc", "/tmp", "/workspace"];
        let nodes = paths.into_iter().map(|path| (path.to_owned(), directory.clone())).collect();
        Self { nodes, events: broadcast::Sender::new(EVENTS_MAX) }
    }
}

/// The path without `.`, `..` and repeated slashes.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(end) => &path[..end],
    }
}

fn failure(reason: Reason, words: &str, path: &str) -> Failure {
    Failure::new(reason, format!("{words}: {path}")).detail("path", path)
}

fn check(only: Option<&Precondition>, old: Option<&Node>, path: &str) -> Result<(), Failure> {
    let holds = match only {
        None => true,
        Some(Precondition::Exists) => old.is_some(),
        Some(Precondition::Absent) => old.is_none(),
        Some(Precondition::Is(etags)) => {
            old.and_then(Node::etag).is_some_and(|etag| etags.contains(&etag))
        }
    };
    let changed = || failure(Reason::FileChanged, "the file is not as the condition says", path);
    holds.then_some(()).ok_or_else(changed)
}

fn missing(path: &str) -> Failure {
    failure(Reason::FileNotFound, "no such file or directory", path)
}

impl Files {
    pub(super) fn is_directory(&self, path: &str) -> bool {
        self.nodes.get(&normal(path)).is_some_and(|node| node.contents.is_none())
    }

    fn node(&self, path: &str) -> Result<&Node, Failure> {
        self.nodes.get(path).ok_or_else(|| {
            let through = parent(path);
            let file = self.nodes.get(through).is_some_and(|node| node.contents.is_some());
            if file {
                failure(Reason::NotADirectory, "not a directory", through)
            } else {
                missing(path)
            }
        })
    }

    fn info(path: &str, node: &Node) -> FileInfo {
        FileInfo {
            path: path.to_owned(),
            kind: if node.contents.is_some() { FileKind::File } else { FileKind::Directory },
            size: node.contents.as_ref().map_or(0, |bytes| bytes.len() as u64),
            mode: node.mode,
            uid: 1000,
            gid: 1000,
            modified: Timestamp::default(),
            symlink_target: None,
            etag: node.etag(),
            name_bytes: None,
        }
    }

    pub(super) fn read(&self, path: &str) -> Result<(FileInfo, Bytes), Failure> {
        let path = normal(path);
        let node = self.node(&path)?;
        match &node.contents {
            Some(bytes) => Ok((Self::info(&path, node), bytes.clone())),
            None => Err(failure(Reason::IsADirectory, "is a directory", &path)),
        }
    }

    pub(super) fn write(
        &mut self,
        path: &SandboxPath,
        options: &WriteOptions,
        contents: Bytes,
    ) -> Result<Stored, Failure> {
        let path = normal(path.as_str());
        if options.parents {
            self.make_parents(&path)?;
        }
        match self.nodes.get(parent(&path)) {
            None => return Err(missing(parent(&path))),
            Some(node) if node.contents.is_some() => {
                return Err(failure(Reason::NotADirectory, "not a directory", parent(&path)));
            }
            Some(_) => {}
        }
        let old = self.nodes.get(&path);
        if old.is_some_and(|node| node.contents.is_none()) {
            return Err(failure(Reason::IsADirectory, "is a directory", &path));
        }
        check(options.only.as_ref(), old, &path)?;
        let kept = old.map_or(FileMode::from_bits(0o644), |node| node.mode);
        let mode = options.mode.unwrap_or(kept);
        let bytes = contents.len() as u64;
        let node = Node { contents: Some(contents), mode, version: version() };
        let etag = node.etag();
        let change = if old.is_some() { FileChange::Modified } else { FileChange::Created };
        self.nodes.insert(path.clone(), node);
        self.tell(change, &path, None);
        Ok(Stored { bytes, etag })
    }

    /// What happens from now on, and the path that it is about.
    pub(super) fn watch(
        &self,
        path: &str,
    ) -> Result<(String, broadcast::Receiver<FileEvent>), Failure> {
        let path = normal(path);
        self.node(&path)?;
        Ok((path, self.events.subscribe()))
    }

    fn tell(&self, change: FileChange, path: &str, from: Option<&str>) {
        let is_dir = self.is_directory(path);
        let from = from.map(str::to_owned);
        // Nobody has to listen.
        let _ = self.events.send(FileEvent { change, path: path.to_owned(), from, is_dir });
    }

    fn grep(&self, grep: &Grep) -> Result<GrepResult, Failure> {
        let path = normal(grep.path.as_str());
        self.node(&path)?;
        let mut result = GrepResult::default();
        let files = self
            .nodes
            .iter()
            .filter(|(name, _)| **name == path || name.starts_with(&format!("{path}/")));
        for (name, node) in files {
            let text = String::from_utf8_lossy(node.contents.as_deref().unwrap_or_default());
            for (number, line) in (1..).zip(text.lines()) {
                // The double knows no expressions, only the text itself.
                let Some(at) = line.find(&grep.pattern) else { continue };
                if result.lines.len() == grep.limit as usize {
                    result.truncated = true;
                    return Ok(result);
                }
                result.lines.push(GrepLine {
                    path: name.clone(),
                    line: number,
                    column: at as u64 + 1,
                    text: line.to_owned(),
                });
            }
        }
        Ok(result)
    }

    fn mkdir(&mut self, path: &str, mode: Option<FileMode>, parents: bool) -> Result<(), Failure> {
        match self.nodes.get(path) {
            Some(node) if parents && node.contents.is_none() => return Ok(()),
            Some(_) => return Err(failure(Reason::FileExists, "it exists", path)),
            None if parents => self.make_parents(path)?,
            None if !self.is_directory(parent(path)) => return Err(missing(parent(path))),
            None => {}
        }
        self.nodes.insert(path.to_owned(), Node::directory(mode.unwrap_or(NEW_DIRECTORY)));
        Ok(())
    }

    fn make_parents(&mut self, path: &str) -> Result<(), Failure> {
        for (end, _) in path.match_indices('/').filter(|(end, _)| *end > 0) {
            let directory = Node::directory(NEW_DIRECTORY);
            let node = self.nodes.entry(path[..end].to_owned()).or_insert(directory);
            if node.contents.is_some() {
                return Err(failure(Reason::NotADirectory, "not a directory", &path[..end]));
            }
        }
        Ok(())
    }

    pub(super) fn perform(&mut self, op: &FileOp) -> Result<FileReply, Failure> {
        let path = normal(op.path().as_str());
        match op {
            FileOp::Grep(grep) => self.grep(grep).map(FileReply::Lines),
            FileOp::Glob { limit, .. } => {
                let paths = self.glob(&path);
                if paths.len() > *limit as usize {
                    let over = failure(Reason::TooLarge, "too many files match", &path);
                    return Err(over.detail("limit", "matches").detail("max", i64::from(*limit)));
                }
                Ok(FileReply::Paths(paths))
            }
            FileOp::Page { limit, after, .. } => {
                self.page(&path, *limit, after.as_deref()).map(FileReply::Page)
            }
            FileOp::Mkdir { mode, parents, .. } => {
                self.mkdir(&path, *mode, *parents)?;
                Ok(FileReply::Done)
            }
            FileOp::Stat(_) => Ok(FileReply::Info(Self::info(&path, self.node(&path)?))),
            FileOp::List(_) => self.list(&path).map(FileReply::Listing),
            FileOp::Chmod { mode, .. } => {
                self.node(&path)?;
                if let Some(node) = self.nodes.get_mut(&path) {
                    node.mode = *mode;
                    node.version = version();
                }
                Ok(FileReply::Done)
            }
            FileOp::Copy { to, recursive, .. } => {
                self.copy(&path, &normal(to.as_str()), *recursive)?;
                Ok(FileReply::Done)
            }
            FileOp::Delete { recursive, .. } => {
                self.node(&path)?;
                if self.beneath(&path).next().is_some() && !recursive {
                    return Err(failure(Reason::DirectoryNotEmpty, "directory not empty", &path));
                }
                let prefix = format!("{path}/");
                self.nodes.retain(|name, _| *name != path && !name.starts_with(&prefix));
                self.tell(FileChange::Deleted, &path, None);
                Ok(FileReply::Done)
            }
            FileOp::Move { to, .. } => {
                let node = self.node(&path)?.clone();
                let to = normal(to.as_str());
                if !self.is_directory(parent(&to)) {
                    return Err(missing(parent(&to)));
                }
                let prefix = format!("{path}/");
                let moved: Vec<_> =
                    self.nodes.extract_if(.., |name, _| name.starts_with(&prefix)).collect();
                self.nodes.remove(&path);
                for (name, inner) in moved {
                    self.nodes.insert(format!("{to}/{}", &name[prefix.len()..]), inner);
                }
                self.nodes.insert(to.clone(), node);
                self.tell(FileChange::Moved, &to, Some(&path));
                Ok(FileReply::Done)
            }
        }
    }

    /// Files and directories alone: the double has nothing else.
    pub(super) fn unpack(
        &mut self,
        path: &str,
        limits: ArchiveLimits,
        mut bytes: &[u8],
    ) -> Result<Unpacked, Failure> {
        let base = normal(path);
        self.mkdir(&base, None, true)?;
        let invalid =
            |error: archive::Error| Failure::new(Reason::ArchiveInvalid, error.to_string());
        let mut reader = archive::Reader::new(&mut bytes);
        let mut done = Unpacked::default();
        while let Some(member) = reader.next_member().map_err(invalid)? {
            let mut contents = Vec::new();
            loop {
                let more = reader.contents().map_err(invalid)?;
                let count = more.len();
                if count == 0 {
                    break;
                }
                contents.extend_from_slice(more);
                reader.consume(count);
            }
            let name = String::from_utf8_lossy(&member.path).into_owned();
            if name.starts_with('/') || name.split('/').any(|part| part == "..") {
                let words = "archive: its path is absolute, or has a `..` in it";
                return Err(failure(Reason::ArchiveInvalid, words, &name));
            }
            done.entries += 1;
            done.bytes += member.size;
            for (bound, count, max) in
                [("entries", done.entries, limits.entries), ("bytes", done.bytes, limits.bytes)]
            {
                if count > max {
                    let over = failure(Reason::TooLarge, "over the limit", &name);
                    return Err(over.detail("limit", bound).detail("max", Detail::amount(max)));
                }
            }
            let path = normal(&format!("{base}/{name}"));
            self.make_parents(&path)?;
            let contents = (member.kind == archive::Kind::File).then(|| Bytes::from(contents));
            let mode = FileMode::from_bits(member.mode & 0o777);
            self.nodes.insert(path, Node { contents, mode, version: version() });
        }
        Ok(done)
    }

    fn copy(&mut self, from: &str, to: &str, recursive: bool) -> Result<(), Failure> {
        let node = Node { version: version(), ..self.node(from)?.clone() };
        let directory = node.contents.is_none();
        if directory && !recursive {
            return Err(failure(Reason::IsADirectory, "it is a directory", from));
        }
        let prefix = format!("{}/", from.trim_end_matches('/'));
        if directory && format!("{to}/").starts_with(&prefix) {
            return Err(failure(Reason::PathInvalid, "it is inside of what is copied", to));
        }
        if !self.is_directory(parent(to)) {
            return Err(missing(parent(to)));
        }
        if self.nodes.get(to).is_some_and(|there| directory || there.contents.is_none()) {
            return Err(failure(Reason::FileExists, "it exists", to));
        }
        let copies: Vec<_> = self
            .beneath(from)
            .map(|(name, node)| (format!("{to}/{}", &name[prefix.len()..]), node.clone()))
            .collect();
        self.nodes.insert(to.to_owned(), node);
        self.nodes.extend(copies);
        Ok(())
    }

    /// What is beneath a directory, or the file itself: relative paths, contents and modes.
    pub(super) fn tree(&self, path: &str) -> Result<Vec<(String, Option<Bytes>, u32)>, Failure> {
        let path = normal(path);
        let node = self.node(&path)?;
        if node.contents.is_some() {
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            return Ok(vec![(name, node.contents.clone(), node.mode.bits())]);
        }
        let skip = path.trim_end_matches('/').len() + 1;
        let of = self.beneath(&path);
        Ok(of
            .map(|(name, node)| (name[skip..].to_owned(), node.contents.clone(), node.mode.bits()))
            .collect())
    }

    fn list(&self, path: &str) -> Result<Vec<FileInfo>, Failure> {
        if self.node(path)?.contents.is_some() {
            return Err(failure(Reason::NotADirectory, "not a directory", path));
        }
        let of = self.beneath(path).filter(|(name, _)| parent(name) == path);
        Ok(of.map(|(name, node)| Self::info(name, node)).collect())
    }

    fn page(&self, path: &str, limit: u32, after: Option<&[u8]>) -> Result<FilePage, Failure> {
        let mut files = self.list(path)?;
        files.retain(|file| after.is_none_or(|after| file.name().as_bytes() > after));
        let more = files.len() > limit as usize;
        files.truncate(limit as usize);
        let next = files.last().filter(|_| more).map(|last| last.name().as_bytes().to_vec());
        Ok(FilePage { files, next })
    }

    fn beneath<'a>(&'a self, path: &str) -> impl Iterator<Item = (&'a String, &'a Node)> {
        let prefix = format!("{}/", path.trim_end_matches('/'));
        self.nodes
            .iter()
            .filter(move |(name, _)| name.len() > prefix.len() && name.starts_with(&prefix))
    }

    fn glob(&self, pattern: &str) -> Vec<String> {
        let pattern: Vec<&str> = pattern.split('/').skip(1).collect();
        let names = self.nodes.keys().filter(|name| name.len() > 1);
        let matches = |name: &&String| {
            let parts: Vec<&str> = name.split('/').skip(1).collect();
            parts_match(&pattern, &parts)
        };
        names.filter(matches).cloned().collect()
    }
}

fn parts_match(pattern: &[&str], parts: &[&str]) -> bool {
    match (pattern, parts) {
        ([], []) => true,
        (["**", rest @ ..], _) => {
            (0..=parts.len()).any(|skipped| parts_match(rest, &parts[skipped..]))
        }
        ([first, rest @ ..], [part, parts @ ..]) => {
            name_matches(first.as_bytes(), part.as_bytes()) && parts_match(rest, parts)
        }
        ([], [_, ..]) | ([_, ..], []) => false,
    }
}

fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|skip| name_matches(rest, &name[skip..])),
        ([b'?', rest @ ..], [_, name @ ..]) => name_matches(rest, name),
        ([first, rest @ ..], [byte, name @ ..]) => first == byte && name_matches(rest, name),
        ([], [_, ..]) | ([_, ..], []) => false,
    }
}
