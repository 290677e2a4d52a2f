//! The one error type of these commands: what was being done, and why it did not work.
//!
//! Findings of `tidy` are not failures: they are its result. Used by every module here.

use std::error::Error;
use std::fmt;

/// Something that a command could not do.
///
/// Its text is a lowercase fragment that completes "failed to ..."; the cause is its source.
#[derive(Debug)]
pub struct Failure {
    doing: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// A failure that has no deeper cause than its own text.
    pub fn new(doing: impl Into<String>) -> Self {
        Self { doing: doing.into(), cause: None }
    }

    /// For `map_err`: wraps the cause in what was being done.
    pub fn doing<E>(doing: impl Into<String>) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        move |cause| Self { doing: doing.into(), cause: Some(cause.into()) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.doing)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_its_cause_out_of_its_own_text() {
        let cause = std::io::Error::other("disk on fire");
        let failure = Failure::doing("read x")(cause);
        assert_eq!(failure.to_string(), "read x");
        assert_eq!(failure.source().unwrap().to_string(), "disk on fire");
    }
}
