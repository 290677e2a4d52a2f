//! What is said about files: operations, and what is found.

use serde::{Deserialize, Serialize};

/// A file operation. Every path is resolved beneath the sandbox's root, as the configured user.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "fs", rename_all = "snake_case")]
pub enum FsOp {
    /// Describe one file; a symlink is described, not followed.
    Stat {
        /// The file.
        path: String,
    },
    /// Describe what a directory holds, by name.
    List {
        /// The directory.
        path: String,
        /// At most so many entries; more is [`Reply::OverLimit`](crate::Reply::OverLimit).
        limit: u32,
    },
    /// Describe a part of what a directory holds: the first entries, by name, behind one.
    /// Answered with [`Reply::Page`](crate::Reply::Page).
    Page {
        /// The directory.
        path: String,
        /// At most so many entries.
        limit: u32,
        /// The bytes of the name behind which the part begins; the first part when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Vec<u8>>,
    },
    /// Make a directory.
    Mkdir {
        /// The directory.
        path: String,
        /// Permission bits; 0755 when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<u32>,
        /// Make missing parent directories, and take one that is there for success.
        parents: bool,
    },
    /// Remove a file, or a directory with all that is in it.
    Delete {
        /// What to remove.
        path: String,
        /// Whether a directory that is not empty may be removed.
        recursive: bool,
    },
    /// Rename, replacing a file that is in the way.
    Move {
        /// The old name.
        from: String,
        /// The new name.
        to: String,
    },
    /// Copy a file under another name, whole or not at all. Modes come along; a symlink is copied
    /// as one.
    Copy {
        /// What to copy.
        from: String,
        /// The name of the copy. A file there is replaced by a file, nothing else is.
        to: String,
        /// Whether a directory is copied, with all that is in it.
        recursive: bool,
    },
    /// Send what is beneath a directory, or a single file, as a tar archive. Answered with
    /// `done`, behind which the bytes follow.
    Pack {
        /// The directory or file.
        path: String,
    },
    /// Make files beneath a directory, which is made when it is missing, from the plain tar
    /// archive that follows. Answered with [`Reply::Unpacked`](crate::Reply::Unpacked).
    Unpack {
        /// The directory.
        path: String,
        /// At most so many members.
        entries: u64,
        /// At most so many bytes in all files together.
        bytes: u64,
    },
    /// Find lines that match. Answered with a listing, one [`Found`] a line.
    Grep {
        /// The file or directory.
        path: String,
        /// A regular expression, for one line.
        pattern: String,
        /// Whether directories in the directory are searched too.
        recursive: bool,
        /// Whether letters match in either case.
        ignore_case: bool,
        /// At most so many lines; more end the listing with [`Found::Truncated`].
        limit: u32,
        /// A pattern for the names of files that are searched.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        names: Option<String>,
    },
    /// Follow what happens to a file, or in a directory. Answered with a listing without end, one
    /// [`FileEvent`] a line.
    Watch {
        /// The file or directory.
        path: String,
        /// Whether directories in the directory are followed too.
        recursive: bool,
    },
    /// Set permission bits; a symlink is followed.
    Chmod {
        /// The file.
        path: String,
        /// Permission bits, at most 07777.
        mode: u32,
    },
    /// Files whose path matches; `*`, `?`, `[…]` stay within a name, `**` crosses directories.
    Glob {
        /// An absolute pattern.
        pattern: String,
        /// At most so many matches; more is [`Reply::OverLimit`](crate::Reply::OverLimit).
        limit: u32,
    },
}

/// What must hold of a file for it to be replaced.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "if", rename_all = "snake_case")]
pub enum Precondition {
    /// There is one.
    Exists,
    /// There is none.
    Absent,
    /// It has one of these validators.
    Is {
        /// As in [`Entry::etag`].
        etags: Vec<String>,
    },
}

/// What a search found.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "found", rename_all = "snake_case")]
pub enum Found {
    /// A line.
    Line {
        /// The file.
        path: String,
        /// The line's number, from 1.
        line: u64,
        /// The byte at which the match begins, from 1.
        column: u64,
        /// The line, or its beginning.
        text: String,
    },
    /// There is more.
    Truncated,
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
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

/// Something that happened to a file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct FileEvent {
    /// What.
    #[serde(rename = "type")]
    pub change: FileChange,
    /// The file, by its new name if it was moved.
    pub path: String,
    /// The old name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// What a directory entry is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A socket, device or pipe.
    #[serde(other)]
    Other,
}

/// A moment, as a file system keeps it.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Stamp {
    /// Seconds since 1970-01-01 UTC.
    pub seconds: i64,
    /// Nanoseconds past that second.
    pub nanos: u32,
}

/// A described file. Listings carry one as JSON in each line.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its absolute path in the sandbox.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Its size in bytes.
    pub size: u64,
    /// Permission bits, without the type.
    pub mode: u32,
    /// Its owner, as the sandbox numbers users.
    pub uid: u32,
    /// Its group, as the sandbox numbers groups.
    pub gid: u32,
    /// When its contents last changed.
    pub modified: Stamp,
    /// Where a symlink points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symlink_target: Option<String>,
    /// A text that changes whenever the file does.
    #[serde(default)]
    pub etag: String,
    /// The bytes of its name, when they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_bytes: Option<Vec<u8>>,
}
