//! Why a tree could not be packed or unpacked.

use std::{fmt, io};

use rustix::io::Errno;

/// Why a tree could not be packed or unpacked.
#[derive(Debug)]
pub enum Error {
    /// The archive is none, or has what may not be unpacked.
    Invalid {
        /// The member that it is about, as text; empty before the first.
        member: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A limit is passed.
    Limit {
        /// Its name, for programs.
        limit: &'static str,
        /// How much it allows.
        max: u64,
        /// What passes it, for people.
        subject: String,
    },
    /// The file system refuses.
    File {
        /// The path beneath the directory, as text.
        path: String,
        /// Why.
        error: Errno,
    },
    /// The file became another while it was read.
    Changed {
        /// The path beneath the directory, as text.
        path: String,
    },
    /// The stream with the archive failed.
    Stream(io::Error),
}

impl Error {
    pub(crate) fn invalid(member: &[u8], problem: &'static str) -> Self {
        Self::Invalid { member: String::from_utf8_lossy(member).into_owned(), problem }
    }

    pub(crate) fn file(path: &[u8], error: Errno) -> Self {
        Self::File { path: String::from_utf8_lossy(path).into_owned(), error }
    }

    pub(crate) fn limit(limit: &'static str, max: u64, subject: &[u8]) -> Self {
        Self::Limit { limit, max, subject: String::from_utf8_lossy(subject).into_owned() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { member, problem } if member.is_empty() => {
                write!(f, "archive: {problem}")
            }
            Self::Invalid { member, problem } => write!(f, "archive: {member}: {problem}"),
            Self::Limit { limit, max, subject } => {
                write!(f, "{subject}: over the limit {limit} of {max}")
            }
            Self::File { path, error } => write!(f, "{path}: {error}"),
            Self::Changed { path } => write!(f, "{path}: it changed while it was read"),
            Self::Stream(_) => f.write_str("transfer the archive"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Stream(error) => Some(error),
            Self::Invalid { .. }
            | Self::Limit { .. }
            | Self::File { .. }
            | Self::Changed { .. } => None,
        }
    }
}
