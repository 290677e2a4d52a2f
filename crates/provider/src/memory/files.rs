//! The files of the test double: a map from paths to contents.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::{
    Failure, FileInfo, FileKind, FileMode, FileOp, FileReply, Reason, SandboxPath, Timestamp,
};

use crate::guest::WriteOptions;

#[derive(Clone, Debug)]
struct Node {
    /// The contents; a directory has none.
    contents: Option<Bytes>,
    mode: FileMode,
}

/// A file system without links, owners or time.
#[derive(Debug)]
pub(super) struct Files(BTreeMap<String, Node>);

impl Default for Files {
    fn default() -> Self {
        let directory = Node { contents: None, mode: FileMode::from_bits(0o755) };
        let paths = ["/", "/etc", "/tmp", "/workspace"];
        Self(paths.into_iter().map(|path| (path.to_owned(), directory.clone())).collect())
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

fn missing(path: &str) -> Failure {
    failure(Reason::FileNotFound, "no such file or directory", path)
}

impl Files {
    pub(super) fn is_directory(&self, path: &str) -> bool {
        self.0.get(&normal(path)).is_some_and(|node| node.contents.is_none())
    }

    fn node(&self, path: &str) -> Result<&Node, Failure> {
        self.0.get(path).ok_or_else(|| {
            let through = parent(path);
            let file = self.0.get(through).is_some_and(|node| node.contents.is_some());
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
        options: WriteOptions,
        contents: Bytes,
    ) -> Result<(), Failure> {
        let path = normal(path.as_str());
        if options.parents {
            self.make_parents(&path)?;
        }
        match self.0.get(parent(&path)) {
            None => return Err(missing(parent(&path))),
            Some(node) if node.contents.is_some() => {
                return Err(failure(Reason::NotADirectory, "not a directory", parent(&path)));
            }
            Some(_) => {}
        }
        let old = self.0.get(&path);
        if old.is_some_and(|node| node.contents.is_none()) {
            return Err(failure(Reason::IsADirectory, "is a directory", &path));
        }
        let kept = old.map_or(FileMode::from_bits(0o644), |node| node.mode);
        let mode = options.mode.unwrap_or(kept);
        self.0.insert(path, Node { contents: Some(contents), mode });
        Ok(())
    }

    fn make_parents(&mut self, path: &str) -> Result<(), Failure> {
        for (end, _) in path.match_indices('/').filter(|(end, _)| *end > 0) {
            let directory = Node { contents: None, mode: FileMode::from_bits(0o755) };
            let node = self.0.entry(path[..end].to_owned()).or_insert(directory);
            if node.contents.is_some() {
                return Err(failure(Reason::NotADirectory, "not a directory", &path[..end]));
            }
        }
        Ok(())
    }

    pub(super) fn perform(&mut self, op: &FileOp) -> Result<FileReply, Failure> {
        let path = normal(op.path().as_str());
        match op {
            FileOp::Glob(_) => Ok(FileReply::Paths(self.glob(&path))),
            FileOp::Stat(_) => Ok(FileReply::Info(Self::info(&path, self.node(&path)?))),
            FileOp::List(_) => self.list(&path).map(FileReply::Listing),
            FileOp::Chmod { mode, .. } => {
                self.node(&path)?;
                if let Some(node) = self.0.get_mut(&path) {
                    node.mode = *mode;
                }
                Ok(FileReply::Done)
            }
            FileOp::Delete { recursive, .. } => {
                self.node(&path)?;
                if self.beneath(&path).next().is_some() && !recursive {
                    return Err(failure(Reason::DirectoryNotEmpty, "directory not empty", &path));
                }
                let prefix = format!("{path}/");
                self.0.retain(|name, _| *name != path && !name.starts_with(&prefix));
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
                    self.0.extract_if(.., |name, _| name.starts_with(&prefix)).collect();
                self.0.remove(&path);
                for (name, inner) in moved {
                    self.0.insert(format!("{to}/{}", &name[prefix.len()..]), inner);
                }
                self.0.insert(to, node);
                Ok(FileReply::Done)
            }
        }
    }

    fn list(&self, path: &str) -> Result<Vec<FileInfo>, Failure> {
        if self.node(path)?.contents.is_some() {
            return Err(failure(Reason::NotADirectory, "not a directory", path));
        }
        let of = self.beneath(path).filter(|(name, _)| parent(name) == path);
        Ok(of.map(|(name, node)| Self::info(name, node)).collect())
    }

    fn beneath<'a>(&'a self, path: &str) -> impl Iterator<Item = (&'a String, &'a Node)> {
        let prefix = format!("{}/", path.trim_end_matches('/'));
        self.0
            .iter()
            .filter(move |(name, _)| name.len() > prefix.len() && name.starts_with(&prefix))
    }

    fn glob(&self, pattern: &str) -> Vec<String> {
        let pattern: Vec<&str> = pattern.split('/').skip(1).collect();
        let names = self.0.keys().filter(|name| name.len() > 1);
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
