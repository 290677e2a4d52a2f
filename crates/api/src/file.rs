//! Files in a sandbox: what is written, renamed, changed and described.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::exec::Encoding;

/// A file to write. Missing parent directories are made; a file that is there is replaced as a
/// whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteRequest {
    /// The absolute path in the sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The contents. Default: empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Permission bits in octal. Default: `0644` for a new file, and what it has for an old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// How `content` is written. Default: `utf8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
}

/// A file to rename. A file at the new path is replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveRequest {
    /// The absolute path that it has.
    #[serde(default)]
    pub old_path: Option<String>,
    /// The absolute path that it gets.
    #[serde(default)]
    pub new_path: Option<String>,
}

/// Permission bits to set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChmodRequest {
    /// The absolute path in the sandbox.
    #[serde(default)]
    pub path: Option<String>,
    /// The bits in octal: `0755`.
    #[serde(default)]
    pub mode: Option<String>,
}

/// A described file. A symlink is described, not followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileInfo {
    /// The last part of the path.
    #[serde(default)]
    pub name: String,
    /// The absolute path in the sandbox.
    pub path: String,
    /// The size in bytes.
    pub size: u64,
    /// Permission bits in octal: `0644`.
    pub mode: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// When its contents last changed, in RFC 3339.
    pub mod_time: String,
    /// `file`, `directory`, `symlink` or `other`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Its owner, as the sandbox numbers users.
    #[serde(default)]
    pub uid: u32,
    /// Its group, as the sandbox numbers groups.
    #[serde(default)]
    pub gid: u32,
    /// Where a symlink points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symlink_target: Option<String>,
    /// Its validator, with the quotes: for `If-Match`, `If-None-Match` and `If-Range`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The bytes of the name in base64, when they are not UTF-8 and `name` shows U+FFFD in the
    /// place of what cannot be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_base64: Option<String>,
}

/// A directory to make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MkdirRequest {
    /// The absolute path in the sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Permission bits in octal. Default: `0755`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Make missing parent directories, and take a directory that is there for success. Default:
    /// `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parents: Option<bool>,
}

/// A file or directory to copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyRequest {
    /// The absolute path of what is copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The absolute path of the copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Copy a directory with all that is in it. Default: `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recursive: Option<bool>,
}

/// That an archive was unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unpacked {
    /// `unpacked`.
    pub status: String,
    /// How many members it had.
    pub entries: u64,
    /// How many bytes its files have together.
    pub bytes: u64,
}

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum ArchiveFormat {
    /// Not at all.
    #[default]
    #[serde(rename = "tar")]
    Tar,
    /// By gzip.
    #[serde(rename = "tar.gz")]
    Gzip,
    /// By zstd.
    #[serde(rename = "tar.zst")]
    Zstd,
}

impl ArchiveFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Tar, Self::Gzip, Self::Zstd];

    /// The format's word in queries.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tar => "tar",
            Self::Gzip => "tar.gz",
            Self::Zstd => "tar.zst",
        }
    }

    /// The format's media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Tar => "application/x-tar",
            Self::Gzip => "application/gzip",
            Self::Zstd => "application/zstd",
        }
    }
}

/// A line that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GrepLine {
    /// The file's absolute path.
    pub path: String,
    /// The line's number, from 1.
    pub line: u64,
    /// The byte at which the match begins, from 1.
    pub column: u64,
    /// The line, or its first 4 KiB.
    pub text: String,
}

/// Something that happened to a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileEvent {
    /// `created`, `modified`, `deleted`, `moved`, `attrib`, or `overflow` when events were lost.
    #[serde(rename = "type")]
    pub kind: String,
    /// The file's absolute path; the new one of a file that was moved.
    pub path: String,
    /// The old path of a file that was moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// That a file was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Written {
    /// `written`.
    pub status: String,
    /// The size in bytes.
    #[serde(default)]
    pub size: u64,
    /// The new validator, with the quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}
