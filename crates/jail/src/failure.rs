//! How a step of the helper's work fails, and what the control plane is told about it.
//!
//! Every system call that can fail for a reason in the outside world is named by a step ("mount
//! the writable layer"), so that an error reads as a sentence. Used by every module of the helper.

use std::borrow::Cow;

use rustix::io::Errno;

use crate::wire::{ErrorKind, JailError};

/// A step that failed, with the kernel's reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {}", reason(*errno))]
pub struct Failure {
    /// What was being done, completing "failed to ...".
    pub step: Cow<'static, str>,
    /// Why it did not work.
    pub errno: Errno,
}

/// Names the step that a system call belongs to.
pub trait InStep<T> {
    /// Turns the kernel's error into a failure of this step.
    fn step(self, step: &'static str) -> Result<T, Failure>;
}

impl<T> InStep<T> for Result<T, Errno> {
    fn step(self, step: &'static str) -> Result<T, Failure> {
        self.map_err(|errno| Failure { step: Cow::Borrowed(step), errno })
    }
}

impl<T> InStep<T> for std::io::Result<T> {
    fn step(self, step: &'static str) -> Result<T, Failure> {
        self.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)).step(step)
    }
}

/// The step of the clone, where "no space" means a limit on namespaces and not a full disk.
pub const CLONE: &str = "make the namespaces";

fn reason(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

impl From<Failure> for JailError {
    fn from(failure: Failure) -> Self {
        let kind = match failure.errno {
            Errno::NOSPC | Errno::USERS if failure.step == CLONE => ErrorKind::Limit,
            Errno::NOSPC | Errno::DQUOT => ErrorKind::NoSpace,
            Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::USERS => {
                ErrorKind::Limit
            }
            Errno::PERM
            | Errno::ACCESS
            | Errno::NOSYS
            | Errno::OPNOTSUPP
            | Errno::NODEV
            | Errno::ROFS => ErrorKind::Unsupported,
            Errno::BUSY => ErrorKind::Busy,
            _ => ErrorKind::Internal,
        };
        Self { kind, message: failure.to_string() }
    }
}

/// The error for a field that is wrong.
pub fn invalid(field: &str, problem: &str) -> JailError {
    JailError {
        kind: ErrorKind::Invalid { field: field.to_owned() },
        message: format!("read {field}: {problem}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_limit_on_namespaces_are_told_apart() {
        let disk: JailError = Err::<(), _>(Errno::NOSPC).step("write").unwrap_err().into();
        let namespaces: JailError = Err::<(), _>(Errno::NOSPC).step(CLONE).unwrap_err().into();
        assert_eq!(disk.kind, ErrorKind::NoSpace);
        assert_eq!(namespaces.kind, ErrorKind::Limit);
        assert_eq!(disk.message, "write: no space left on device");
    }
}
