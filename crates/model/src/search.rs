//! Lines that are found in files, and what happens to files.

use crate::file::SandboxPath;

/// Lines to find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grep {
    /// The file or directory.
    pub path: SandboxPath,
    /// A regular expression for one line; what is one is decided in the sandbox.
    pub pattern: String,
    /// Whether directories in the directory are searched too.
    pub recursive: bool,
    /// Whether letters match in either case.
    pub ignore_case: bool,
    /// At most so many lines.
    pub limit: u32,
    /// A pattern for the names of files that are searched.
    pub names: Option<String>,
}

/// A line that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrepLine {
    /// The file.
    pub path: String,
    /// The line's number, from 1.
    pub line: u64,
    /// The byte at which the match begins, from 1.
    pub column: u64,
    /// The line, or its beginning.
    pub text: String,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrepResult {
    /// In the order of paths and lines.
    pub lines: Vec<GrepLine>,
    /// Whether there are more.
    pub truncated: bool,
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileChange {
    /// It appeared.
    Created,
    /// Its contents changed.
    Modified,
    /// It is gone.
    Deleted,
    /// It has another name.
    Moved,
    /// Its mode, owner or times changed.
    Attrib,
    /// Something happened that was not seen: too much at once.
    Overflow,
}

impl FileChange {
    /// The change's word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Modified => "modified",
            Self::Deleted => "deleted",
            Self::Moved => "moved",
            Self::Attrib => "attrib",
            Self::Overflow => "overflow",
        }
    }
}

/// Something that happened to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEvent {
    /// What.
    pub change: FileChange,
    /// The file, by its new name if it was moved.
    pub path: String,
    /// The old name.
    pub from: Option<String>,
    /// Whether it is a directory.
    pub is_dir: bool,
}
