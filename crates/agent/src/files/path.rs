//! Paths from the host, and their resolution beneath the root. Nothing else in `files` turns a
//! path into a descriptor.

use std::os::fd::{AsFd, OwnedFd};

use proto::GuestErrorKind;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Answer, fail, refusal};

/// Bytes in a path at most, as in the kernel.
pub const PATH_MAX: usize = 4096;

/// Bytes in one name at most, as in every file system that matters.
const NAME_MAX: usize = 255;

/// How often a resolution is tried again that a concurrent rename disturbed. A job that renames
/// without end gets an error instead of a busy agent.
const RESOLVE_TRIES: usize = 64;

/// An absolute path: `/`, or names each after a slash, none of them empty or `.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestPath(String);

impl GuestPath {
    pub fn parse(text: &str) -> Answer<Self> {
        let invalid = |why: &str| Err(refusal(GuestErrorKind::PathInvalid, format!("path: {why}")));
        if !text.starts_with('/') {
            return invalid("it is not absolute");
        }
        if text.len() >= PATH_MAX {
            return invalid("it is too long");
        }
        if text.contains('\0') {
            return invalid("it contains a NUL");
        }
        let mut path = String::with_capacity(text.len());
        for name in text.split('/').filter(|name| !name.is_empty() && *name != ".") {
            if name.len() > NAME_MAX {
                return invalid("a name in it is too long");
            }
            path.push('/');
            path.push_str(name);
        }
        if path.is_empty() {
            path.push('/');
        }
        Ok(Self(path))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory and the name in it; none for the root and for a path that ends in `..`.
    pub fn split(&self) -> Option<(Self, &str)> {
        let (parent, name) = self.0.rsplit_once('/')?;
        if name.is_empty() || name == ".." {
            return None;
        }
        let parent = if parent.is_empty() { "/" } else { parent };
        Some((Self(parent.to_owned()), name))
    }

    /// Every directory on the way to the path, the topmost first, the path itself last.
    pub fn steps(&self) -> impl Iterator<Item = Self> {
        let ends = self.0.match_indices('/').map(|(at, _)| at).skip(1).chain([self.0.len()]);
        ends.map(|end| Self(self.0[..end].to_owned()))
    }

    /// The path of a name in this directory.
    pub fn join(&self, name: &str) -> String {
        let base = if self.0 == "/" { "" } else { &self.0 };
        format!("{base}/{name}")
    }
}

/// A directory and a name in it, so that what happens to the name is not redirected by a link.
#[derive(Debug)]
pub struct Place {
    pub dir: OwnedFd,
    pub name: String,
}

impl Place {
    /// Opens what is there now; a link is not followed.
    pub fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.dir, self.name.as_str(), flags, Mode::empty())
    }
}

/// The directory beneath which everything is.
#[derive(Clone, Copy, Debug)]
pub struct Root<'a>(&'a OwnedFd);

impl<'a> Root<'a> {
    pub fn new(root: &'a OwnedFd) -> Self {
        Self(root)
    }

    /// Opens an existing file. Links are followed as if the root were the root of everything;
    /// the links of /proc that lead out of any root are refused.
    pub fn open(self, path: &GuestPath, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // The kernel refuses any other flag beside a path-only open.
        let tty = if flags.contains(OFlags::PATH) { OFlags::empty() } else { OFlags::NOCTTY };
        let flags = flags | OFlags::CLOEXEC | tty;
        let mut last = Errno::AGAIN;
        for _ in 0..RESOLVE_TRIES {
            match rustix::fs::openat2(self.0.as_fd(), path.as_str(), flags, Mode::empty(), resolve)
            {
                Err(error @ (Errno::AGAIN | Errno::INTR)) => last = error,
                other => return other,
            }
        }
        Err(last)
    }

    /// Opens the directory that holds the path's last name.
    pub fn place(self, path: &GuestPath) -> Answer<Place> {
        let Some((parent, name)) = path.split() else {
            let message = "path: it names no entry of a directory";
            return Err(refusal(GuestErrorKind::PathInvalid, message));
        };
        let dir = self
            .open(&parent, OFlags::PATH | OFlags::DIRECTORY)
            .map_err(|error| fail(path.as_str(), error))?;
        Ok(Place { dir, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_parsed_path_is_absolute_and_parses_to_itself(text in "[/.a\u{0}é]{0,20}") {
            if let Ok(path) = GuestPath::parse(&text) {
                prop_assert!(path.as_str().starts_with('/') && !path.as_str().contains('\0'));
                prop_assert_eq!(GuestPath::parse(path.as_str()).unwrap(), path.clone());
                if let Some((parent, name)) = path.split() {
                    prop_assert_eq!(parent.join(name), path.as_str());
                }
            }
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["", "a", "./a", "/a\0", &format!("/{}", "a".repeat(256)), &"/a".repeat(2048)] {
            let error = GuestPath::parse(text).unwrap_err();
            assert_eq!(error.kind, GuestErrorKind::PathInvalid, "{text:?}");
        }
    }

    #[test]
    fn the_root_and_dot_dot_name_no_entry() {
        for text in ["/", "//", "/.", "/a/.."] {
            assert!(GuestPath::parse(text).unwrap().split().is_none(), "{text:?}");
        }
    }

    #[test]
    fn steps_go_down_to_the_path() {
        let steps = |text| {
            let path = GuestPath::parse(text).unwrap();
            path.steps().map(|step| step.0).collect::<Vec<_>>()
        };
        assert_eq!(steps("/a/b/c"), ["/a", "/a/b", "/a/b/c"]);
        assert_eq!(steps("/"), ["/"]);
    }
}
