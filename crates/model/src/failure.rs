//! A failure, as it travels from where it happened to the client and to the log.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::limit::Limit;
use crate::reason::Reason;
pub use crate::reason::Retry;

/// Why something a caller asked for did not happen.
///
/// `message`, `hint` and `details` are words for the caller; `source` is for the log alone and is
/// never shown outside.
#[derive(Clone)]
pub struct Failure {
    /// The fine reason.
    pub reason: Reason,
    /// What went wrong, for people.
    pub message: String,
    /// The way out, for people, where there is a better one than the reason's own:
    /// [`way_out`](Self::way_out) is what is shown.
    pub hint: Option<String>,
    /// Facts for programs: the field, the limit, the partial result.
    pub details: BTreeMap<&'static str, Detail>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// A fact in a failure.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// A word or a sentence.
    Text(String),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
}

impl Detail {
    /// A number of things or bytes.
    pub fn count(count: usize) -> Self {
        Self::Number(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// A number that is large on every machine.
    pub fn amount(amount: u64) -> Self {
        Self::Number(i64::try_from(amount).unwrap_or(i64::MAX))
    }
}

impl From<String> for Detail {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Detail {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Detail {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl Failure {
    /// A failure with a message for the caller.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), hint: None, details: BTreeMap::new(), source: None }
    }

    /// A field whose value is not allowed; `details.field` names it.
    pub fn invalid_field(field: &str, problem: impl fmt::Display) -> Self {
        Self::new(Reason::InvalidField, format!("invalid input: {field}: {problem}"))
            .detail("field", field)
    }

    /// Something is over a limit: `details.limit` has the limit's name, `details.max` its value.
    pub fn over_limit(limit: Limit, max: impl Into<Detail>, message: impl Into<String>) -> Self {
        Self::new(limit.reason(), message)
            .detail("limit", limit.name())
            .detail("max", max)
            .hint(limit.hint())
    }

    /// A field is over a limit; `details.field` names it as well.
    pub fn field_over_limit(
        field: &str,
        limit: Limit,
        max: impl Into<Detail>,
        problem: impl fmt::Display,
    ) -> Self {
        Self::over_limit(limit, max, format!("invalid input: {field}: {problem}"))
            .detail("field", field)
    }

    /// A defect or outage of ours. The caller learns nothing but that; `source` is for the log.
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Reason::Internal, "internal error").caused_by(source)
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn detail(mut self, name: &'static str, value: impl Into<Detail>) -> Self {
        self.details.insert(name, value.into());
        self
    }

    /// Adds the cause, for the log.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// The way out, for people.
    pub fn way_out(&self) -> &str {
        self.hint.as_deref().unwrap_or(self.reason.hint())
    }

    /// The chain of causes on one line, for the log.
    pub fn causes(&self) -> String {
        let mut text = String::new();
        let mut cause: Option<&dyn Error> = self.source.as_deref().map(|cause| cause as _);
        while let Some(error) = cause {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.word(), self.message)?;
        let causes = self.causes();
        if causes.is_empty() { Ok(()) } else { write!(f, ": {causes}") }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|cause| cause as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_in_the_log_and_not_in_the_message() {
        let failure = Failure::internal(std::io::Error::other("disk on fire"));
        assert_eq!(failure.to_string(), "internal error");
        assert_eq!(failure.causes(), "disk on fire");
    }

    #[test]
    fn what_is_over_a_limit_is_said_with_its_name_value_and_way_out() {
        let failure = Failure::field_over_limit("vcpus", Limit::Vcpus, 64, "must be at most 64");
        assert_eq!(failure.reason, Reason::InvalidField);
        assert_eq!(failure.message, "invalid input: vcpus: must be at most 64");
        assert_eq!(failure.details["field"], Detail::Text("vcpus".into()));
        assert_eq!(failure.details["limit"], Detail::Text("limits.vcpus".into()));
        assert_eq!(failure.details["max"], Detail::Number(64));
        assert!(failure.hint.is_some_and(|hint| hint.contains("raise `limits.vcpus`")));
    }

    #[test]
    fn a_failure_without_a_hint_has_that_of_its_reason() {
        let failure = Failure::new(Reason::NoSpace, "full");
        assert_eq!(failure.way_out(), Reason::NoSpace.hint());
        assert_eq!(failure.hint("buy a disk").way_out(), "buy a disk");
    }

    #[test]
    fn a_bad_field_is_named() {
        let failure = Failure::invalid_field("ttl", "must be positive");
        assert_eq!(failure.message, "invalid input: ttl: must be positive");
        assert_eq!(failure.details["field"], Detail::Text("ttl".into()));
    }
}
