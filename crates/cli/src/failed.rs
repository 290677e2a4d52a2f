//! Why a command failed, in the words that people and programs get: `error: …` and `hint: …` on
//! standard error, or with `--json` one object in the shape of the server's errors.

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::path::Path;

use api::client::ClientError;
use api::error::ErrorBody;
use model::{Failure, Reason};
use serde::Serialize;
use server::BindError;

use crate::config::ConfigError;

/// A command that failed.
#[derive(Debug, Serialize)]
pub struct Failed {
    /// The coarse word of the server's errors; empty for what is wrong on this side.
    #[serde(skip_serializing_if = "str::is_empty")]
    code: String,
    message: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Failed {
    /// `problem` is a whole statement.
    pub fn new(problem: impl Display) -> Self {
        Self {
            code: String::new(),
            message: problem.to_string(),
            reason: String::new(),
            request_id: String::new(),
            hint: None,
        }
    }

    /// Failed to do `action`, because of `source`.
    pub fn to(action: impl Display, source: &(dyn Error + 'static)) -> Self {
        Self::new(format!("failed to {action}: {}", root_cause(source)))
    }

    /// Failed to do `action` with the file or directory `path`.
    pub fn with_path(action: &str, path: &Path, source: &io::Error) -> Self {
        let failed = Self::to(format!("{action} {}", path.display()), source);
        let hint = [
            (io::ErrorKind::PermissionDenied, "run as the user who may do this"),
            (io::ErrorKind::AlreadyExists, "choose a name that is no file yet"),
            (io::ErrorKind::NotADirectory, "choose a path that leads through directories only"),
            (io::ErrorKind::ReadOnlyFilesystem, "choose a directory on another file system"),
            (io::ErrorKind::StorageFull, "free some space, or choose another file system"),
            (io::ErrorKind::QuotaExceeded, "free some space, or choose another file system"),
        ]
        .into_iter()
        .find_map(|(kind, hint)| (kind == source.kind()).then(|| hint.to_owned()));
        Self { hint, ..failed }
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The lines for standard error.
    pub fn lines(&self, json: bool) -> String {
        if json {
            return serde_json::to_string(self).expect("texts can be written as JSON") + "\n";
        }
        let mut lines = format!("error: {}\n", crate::output::printable(&self.message));
        if let Some(hint) = &self.hint {
            lines.extend(["hint: ", &crate::output::printable(hint), "\n"]);
        }
        lines
    }

    fn with_reason(mut self, reason: Reason) -> Self {
        reason.code().word().clone_into(&mut self.code);
        reason.word().clone_into(&mut self.reason);
        self
    }
}

/// The innermost cause: the layers above it say the same in more words.
fn root_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Api(error) => Self::from((*error.body).clone()),
            ClientError::Unreachable { source, .. } => Self::to(&error, source)
                .hint("start a server with `stacyvm serve`, or name one with --server"),
            ClientError::Transport(source) | ClientError::Setup(source) => Self::to(&error, source),
            ClientError::Answer(source) => Self::to(&error, source)
                .hint("is this address a StacyVM server, and of this version?"),
            ClientError::Stream { .. }
            | ClientError::Address { .. }
            | ClientError::Header { .. } => Self::new(format!("failed to {error}")),
        }
    }
}

impl From<ErrorBody> for Failed {
    fn from(body: ErrorBody) -> Self {
        let unauthorized = body.reason == Reason::Unauthorized.word();
        let hint = if unauthorized {
            Some("give the server's key by --api-key or STACYVM_API_KEY".to_owned())
        } else {
            body.hint
        };
        Self {
            code: body.code,
            message: body.message,
            reason: body.reason,
            request_id: body.request_id,
            hint,
        }
    }
}

impl From<Failure> for Failed {
    /// A failure of a plane in this process: there is no log elsewhere, so the cause is shown.
    fn from(failure: Failure) -> Self {
        let message = match failure.source() {
            None => failure.message.clone(),
            Some(source) => format!("{}: {}", failure.message, root_cause(source)),
        };
        let failed = Self::new(message).with_reason(failure.reason);
        Self { hint: Some(failure.way_out().to_owned()), ..failed }
    }
}

impl From<ConfigError> for Failed {
    fn from(error: ConfigError) -> Self {
        let message = match error.source() {
            Some(source) => format!("failed to {error}: {source}"),
            None => format!("failed to {error}"),
        };
        Self::new(message).hint(error.hint())
    }
}

impl From<BindError> for Failed {
    fn from(error: BindError) -> Self {
        let message = match error.source() {
            Some(source) => format!("failed to {error}: {source}"),
            None => format!("failed to {error}"),
        };
        Self::new(message).hint(error.hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_a_line_and_its_hint_another() {
        let failed = Failed::new("it broke").hint("mend it");
        assert_eq!(failed.lines(false), "error: it broke\nhint: mend it\n");
        assert_eq!(failed.lines(true), "{\"message\":\"it broke\",\"hint\":\"mend it\"}\n");
    }

    #[test]
    fn what_a_server_says_cannot_drive_the_terminal() {
        let failed = Failed::new("\u{1b}[2Jgone\nerror: fake");
        assert_eq!(failed.lines(false), "error: \\u{1b}[2Jgone\\nerror: fake\n");
    }

    #[test]
    fn a_full_disk_comes_with_a_way_out() {
        let source = io::Error::from(io::ErrorKind::StorageFull);
        let failed = Failed::with_path("make", Path::new("/d"), &source);
        assert!(failed.lines(false).contains("hint: free some space"));
    }
}
