//! Files in a sandbox, as callers name and see them.

use std::fmt;
use std::str::FromStr;

use crate::clock::Timestamp;
use crate::failure::Failure;
use crate::search::{Grep, GrepResult};

/// The longest path in bytes: the kernel's own limit.
pub const PATH_BYTES_MAX: usize = 4095;

/// The longest part of a path in bytes: the limit of every file system in use.
pub const NAME_BYTES_MAX: usize = 255;

/// An absolute path in a sandbox. What it resolves to is decided in the sandbox, beneath its
/// root; as text it is bounded and has no NUL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SandboxPath(String);

/// Why a text is not a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is empty.
    #[error("the path is empty")]
    Empty,
    /// It does not begin with a slash.
    #[error("the path is not absolute: it must begin with /")]
    Relative,
    /// It is over [`PATH_BYTES_MAX`].
    #[error("the path is over {PATH_BYTES_MAX} bytes")]
    TooLong,
    /// One part of it is over [`NAME_BYTES_MAX`].
    #[error("a name in the path is over {NAME_BYTES_MAX} bytes")]
    NameTooLong,
    /// It has a NUL in it.
    #[error("the path has a NUL character in it")]
    Nul,
}

impl SandboxPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SandboxPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.contains('\0') {
            return Err(PathError::Nul);
        }
        if !text.starts_with('/') {
            return Err(PathError::Relative);
        }
        if text.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        if text.split('/').any(|name| name.len() > NAME_BYTES_MAX) {
            return Err(PathError::NameTooLong);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SandboxPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Permission bits, at most 07777.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(u32);

/// A text that is no octal number up to 07777.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected permission bits in octal, such as 0644 or 755")]
pub struct ModeError;

impl FileMode {
    /// The bits of `mode`, without the file type.
    pub const fn from_bits(mode: u32) -> Self {
        Self(mode & 0o7777)
    }

    /// The bits.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for FileMode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let octal = (1..=5).contains(&digits.len())
            && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let bits = u32::from_str_radix(digits, 8).ok().filter(|bits| octal && *bits <= 0o7777);
        bits.map(Self).ok_or(ModeError)
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A socket, device or pipe.
    Other,
}

impl FileKind {
    /// The kind's word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Other => "other",
        }
    }
}

/// A strong validator of a file: another text whenever the file is another. Bounded, and of
/// characters that a header can carry between quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag(String);

/// The longest validator in bytes; the agent's own are shorter.
pub const ETAG_BYTES_MAX: usize = 128;

/// A text that is no validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to {ETAG_BYTES_MAX} visible ASCII characters without quotes")]
pub struct ETagError;

impl ETag {
    /// The validator without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The validator as HTTP writes it.
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

impl FromStr for ETag {
    type Err = ETagError;

    fn from_str(text: &str) -> Result<Self, ETagError> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
        let fits = (1..=ETAG_BYTES_MAX).contains(&text.len()) && visible;
        fits.then(|| Self(text.to_owned())).ok_or(ETagError)
    }
}

/// What must hold of a file for it to be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// There is one.
    Exists,
    /// There is none.
    Absent,
    /// It has one of these validators.
    Is(Vec<ETag>),
}

/// What an archive may come to when it is unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Members.
    pub entries: u64,
    /// Bytes in all files together.
    pub bytes: u64,
}

/// What an archive came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Members.
    pub entries: u64,
    /// Bytes in all files together.
    pub bytes: u64,
}

/// A file that was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its new size in bytes.
    pub bytes: u64,
    /// Its new validator, unless the agent gave none.
    pub etag: Option<ETag>,
}

/// A described file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Its absolute path in the sandbox.
    pub path: String,
    /// What it is; a symlink is described, not followed.
    pub kind: FileKind,
    /// Its size in bytes.
    pub size: u64,
    /// Its permission bits.
    pub mode: FileMode,
    /// Its owner, as the sandbox numbers users.
    pub uid: u32,
    /// Its group, as the sandbox numbers groups.
    pub gid: u32,
    /// When its contents last changed.
    pub modified: Timestamp,
    /// Where a symlink points.
    pub symlink_target: Option<String>,
    /// Its validator, unless the agent gave none.
    pub etag: Option<ETag>,
    /// The bytes of its name, when they are not UTF-8 and `path` shows U+FFFD in their place.
    pub name_bytes: Option<Vec<u8>>,
}

impl FileInfo {
    /// The last part of the path; `/` for the root.
    pub fn name(&self) -> &str {
        let name = self.path.rsplit('/').find(|name| !name.is_empty());
        name.unwrap_or("/")
    }
}

/// A file operation that is answered in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileOp {
    /// Describe one file.
    Stat(SandboxPath),
    /// Describe what a directory holds, sorted by name.
    List(SandboxPath),
    /// Describe a part of what a directory holds, in the order of the names' bytes.
    Page {
        /// The directory.
        path: SandboxPath,
        /// At most so many entries.
        limit: u32,
        /// The bytes of the name behind which the part begins; the first part when absent.
        after: Option<Vec<u8>>,
    },
    /// Make a directory.
    Mkdir {
        /// The directory.
        path: SandboxPath,
        /// Its permission bits; 0755 when absent.
        mode: Option<FileMode>,
        /// Whether missing parents are made, and one that is there is success.
        parents: bool,
    },
    /// Remove a file or a directory.
    Delete {
        /// What to remove.
        path: SandboxPath,
        /// Whether a directory goes with all that is in it.
        recursive: bool,
    },
    /// Rename, replacing a file that is in the way.
    Move {
        /// The old name.
        from: SandboxPath,
        /// The new name.
        to: SandboxPath,
    },
    /// Copy a file, or a directory with all that is in it.
    Copy {
        /// What to copy.
        from: SandboxPath,
        /// The name of the copy.
        to: SandboxPath,
        /// Whether a directory is copied.
        recursive: bool,
    },
    /// Find lines in files.
    Grep(Grep),
    /// Set permission bits.
    Chmod {
        /// The file.
        path: SandboxPath,
        /// Its new bits.
        mode: FileMode,
    },
    /// Find files by pattern: `*`, `?`, `[…]` within a name, `**` across directories.
    Glob {
        /// An absolute pattern.
        pattern: SandboxPath,
        /// At most so many matches; more is too large.
        limit: u32,
    },
}

impl FileOp {
    /// Whether the operation changes something.
    pub const fn is_mutation(&self) -> bool {
        match self {
            Self::Delete { .. }
            | Self::Move { .. }
            | Self::Copy { .. }
            | Self::Chmod { .. }
            | Self::Mkdir { .. } => true,
            Self::Stat(_)
            | Self::List(_)
            | Self::Page { .. }
            | Self::Grep(_)
            | Self::Glob { .. } => false,
        }
    }

    /// The operation's word in events and audit records.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Stat(_) => "file.stat",
            Self::List(_) | Self::Page { .. } => "file.list",
            Self::Mkdir { .. } => "file.mkdir",
            Self::Delete { .. } => "file.delete",
            Self::Move { .. } => "file.move",
            Self::Copy { .. } => "file.copy",
            Self::Chmod { .. } => "file.chmod",
            Self::Glob { .. } => "file.glob",
            Self::Grep(_) => "file.grep",
        }
    }

    /// The path that the operation is about, the first of two.
    pub const fn path(&self) -> &SandboxPath {
        match self {
            Self::Stat(path)
            | Self::List(path)
            | Self::Glob { pattern: path, .. }
            | Self::Page { path, .. }
            | Self::Mkdir { path, .. }
            | Self::Delete { path, .. }
            | Self::Chmod { path, .. }
            | Self::Grep(Grep { path, .. })
            | Self::Copy { from: path, .. }
            | Self::Move { from: path, .. } => path,
        }
    }
}

/// The answer to a [`FileOp`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileReply {
    /// Done, nothing to say.
    Done,
    /// To a stat.
    Info(FileInfo),
    /// To a list.
    Listing(Vec<FileInfo>),
    /// To a page.
    Page(FilePage),
    /// To a glob, sorted.
    Paths(Vec<String>),
    /// To a grep.
    Lines(GrepResult),
}

/// A part of what a directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePage {
    /// In the order of the names' bytes.
    pub files: Vec<FileInfo>,
    /// The bytes of the name behind which the next part begins, if there is one.
    pub next: Option<Vec<u8>>,
}

/// An answer to another question than the one that was asked: a defect of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent answered a file operation with something else")]
pub struct WrongReply;

impl FileReply {
    /// The answer to a stat.
    pub fn info(self) -> Result<FileInfo, WrongReply> {
        if let Self::Info(info) = self { Ok(info) } else { Err(WrongReply) }
    }

    /// The answer to a list.
    pub fn listing(self) -> Result<Vec<FileInfo>, WrongReply> {
        if let Self::Listing(files) = self { Ok(files) } else { Err(WrongReply) }
    }

    /// The answer to a page.
    pub fn page(self) -> Result<FilePage, WrongReply> {
        if let Self::Page(page) = self { Ok(page) } else { Err(WrongReply) }
    }

    /// The answer to a grep.
    pub fn lines(self) -> Result<GrepResult, WrongReply> {
        if let Self::Lines(lines) = self { Ok(lines) } else { Err(WrongReply) }
    }

    /// The answer to a glob.
    pub fn paths(self) -> Result<Vec<String>, WrongReply> {
        if let Self::Paths(paths) = self { Ok(paths) } else { Err(WrongReply) }
    }
}

impl From<WrongReply> for Failure {
    fn from(wrong: WrongReply) -> Self {
        Self::internal(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_bounded_and_without_nul() {
        assert!("/a/../b".parse::<SandboxPath>().is_ok());
        for (text, expected) in [
            (String::new(), PathError::Empty),
            ("a/b".into(), PathError::Relative),
            ("/a\0b".into(), PathError::Nul),
            ("/a".repeat(2048), PathError::TooLong),
            (format!("/{}", "a".repeat(256)), PathError::NameTooLong),
        ] {
            assert_eq!(text.parse::<SandboxPath>(), Err(expected));
        }
    }

    #[test]
    fn a_mode_is_octal() {
        for (text, bits) in [("0644", 0o644), ("755", 0o755), ("0o600", 0o600), ("4755", 0o4755)] {
            assert_eq!(text.parse(), Ok(FileMode(bits)));
        }
        for bad in ["", "abc", "0999", "10000", "-644", "+644", "0x1ff", "000644"] {
            assert_eq!(bad.parse::<FileMode>(), Err(ModeError), "{bad:?}");
        }
        assert_eq!(FileMode::from_bits(0o100_644).to_string(), "0644");
    }
}
