//! The files of the workspace, read once for all rules.
//!
//! Walks the folders itself, so that it works in an unpacked archive as well as in a clone. Not
//! read: what cargo builds, what git keeps, symbolic links, and files that are not text.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

use super::rust_text::{self, Line};

/// Folders that hold nothing written by a person.
const NOT_OURS: &[&str] = &[".git", "target", "node_modules", "__pycache__"];

/// Texts larger than this are data; no rule has anything to say about them.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// A text file and its path relative to the root.
pub struct File {
    pub path: PathBuf,
    pub text: String,
}

impl File {
    /// Whether the name ends with this extension, given without its dot.
    pub fn is(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|it| it == extension)
    }

    /// Whether it holds nothing but tests.
    pub fn is_test(&self) -> bool {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let in_tests = self.path.parent().is_some_and(|it| it.iter().any(|part| part == "tests"));
        in_tests || stem == "tests" || stem.ends_with("_tests")
    }

    /// The lines of a Rust file, with code, comments and literals told apart.
    pub fn rust_lines(&self) -> Vec<Line> {
        rust_text::lines(&self.text)
    }
}

/// Every file of the workspace.
#[derive(Default)]
pub struct Tree {
    files: Vec<File>,
    paths: BTreeSet<PathBuf>,
}

impl Tree {
    /// Reads the folder and all below it.
    pub fn read(root: &Path) -> Result<Self, Failure> {
        let mut tree = Self::default();
        tree.read_folder(root, Path::new(""))?;
        tree.files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(tree)
    }

    /// All text files, in the order of their paths.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.files.iter()
    }

    /// All Rust files.
    pub fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is("rs"))
    }

    /// The text file at this path.
    pub fn file(&self, path: impl AsRef<Path>) -> Option<&File> {
        self.files.iter().find(|file| file.path == path.as_ref())
    }

    /// Whether there is a file or a folder at this path.
    pub fn has(&self, path: &Path) -> bool {
        path.as_os_str().is_empty() || self.paths.contains(path)
    }

    fn read_folder(&mut self, root: &Path, folder: &Path) -> Result<(), Failure> {
        let doing = || format!("read {}", root.join(folder).display());
        let entries = fs::read_dir(root.join(folder)).map_err(Failure::doing(doing()))?;
        for entry in entries {
            let entry = entry.map_err(Failure::doing(doing()))?;
            let name = entry.file_name();
            let path = folder.join(&name);
            let metadata = entry.metadata().map_err(Failure::doing(doing()))?;
            if metadata.is_dir() {
                if !NOT_OURS.iter().any(|it| name == *it) {
                    self.paths.insert(path.clone());
                    self.read_folder(root, &path)?;
                }
                continue;
            }
            self.paths.insert(path.clone());
            if metadata.is_file() && metadata.len() <= TEXT_BYTES_MAX {
                let bytes = fs::read(root.join(&path)).map_err(Failure::doing(doing()))?;
                if let Ok(text) = String::from_utf8(bytes) {
                    self.files.push(File { path, text });
                }
            }
        }
        Ok(())
    }

    /// A tree of these paths and texts, for the tests of the rules.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            let path = PathBuf::from(path);
            tree.paths.extend(path.ancestors().map(Path::to_owned));
            tree.files.push(File { path, text: (*text).to_owned() });
        }
        tree
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_builds_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        for path in ["a/b.rs", "target/c.rs", ".ci/run"] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let tree = Tree::read(root.path()).unwrap();
        let paths: Vec<_> = tree.files().map(|file| file.path.to_str().unwrap()).collect();
        assert_eq!(paths, [".ci/run", "a/b.rs"]);
        assert!(tree.has(Path::new("a")) && !tree.has(Path::new("target")));
    }

    #[test]
    fn tests_are_known_by_their_folder_or_name() {
        let is_test = |path: &str| File { path: path.into(), text: String::new() }.is_test();
        assert!(is_test("crates/x/tests/serve.rs"));
        assert!(is_test("crates/x/src/phase/tests.rs"));
        assert!(is_test("crates/x/src/phase_tests.rs"));
        assert!(!is_test("crates/x/src/contests.rs"));
    }
}
