//! The way out of every reason, for people: what is said when whoever fails has nothing more exact
//! to say. A new reason does not compile without one.

use crate::reason::Reason;

impl Reason {
    /// The way out when the failure itself names none.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::InvalidBody => "send one JSON object, as described at /api/v1/openapi.json",
            Self::UnknownField => "remove the field; /api/v1/openapi.json has the fields there are",
            Self::MissingField => "add the field; `details.field` names it",
            Self::InvalidField => "change the value; the message says what is allowed",
            Self::PathInvalid => "send an absolute path, such as /workspace/a.txt",
            Self::Unsupported => "use another provider; `GET /api/v1/providers` says what each can",
            Self::WorkdirInvalid => "make the directory first, or leave `workdir` out",
            Self::UserInvalid => "leave `user` out, or name one that the sandbox's image has",
            Self::ArchiveInvalid => "send a tar archive of files and directories",
            Self::IdempotencyKeyReused => "use a new key for another request",
            Self::BodyTooLarge => "send a large file as application/octet-stream",
            Self::Unauthorized => "send the key in the header X-API-Key",
            Self::OriginForbidden => "name the origin in server.cors_allowed_origins",
            Self::RouteNotFound => "the routes are described at /api/v1/openapi.json",
            Self::MethodNotAllowed => "the header Allow has the methods of this route",
            Self::SandboxNotFound => "`GET /api/v1/sandboxes` lists the sandboxes there are",
            Self::SandboxGone => "create another sandbox; one that has ended does not come back",
            Self::SandboxNotRunning => "wait until the sandbox is running",
            Self::SandboxUnreachable => "try again later, or delete the sandbox",
            Self::CreateFailed => "try again; the server's log has the cause under the request id",
            Self::ProviderNotFound => "`GET /api/v1/providers` lists the providers there are",
            Self::ProviderUnavailable => {
                "try again later; `GET /api/v1/providers` says what is missing"
            }
            Self::ImageNotFound => "check the image's name, or leave `image` out for the default",
            Self::ExecTimeout => "give it a longer `timeout`; its partial output is in `details`",
            Self::ExecNotFound => "check the id; an exec is forgotten some time after its end",
            Self::ExecNotRunning => "ask for its outcome; it has ended or has no terminal",
            Self::StdinClosed => "start the exec with `stdin`, and send nothing after its end",
            Self::FileNotFound => "check the path; list its directory to see what there is",
            Self::NotADirectory => "a part of the path is a file; check the path",
            Self::IsADirectory => "name a file in the directory, or remove it with `recursive`",
            Self::NotAFile => "only regular files can be read and written",
            Self::PermissionDenied => "write below /workspace, or change the file's mode",
            Self::NoSpace => "remove files in the sandbox, or use another one",
            Self::TooLarge => "narrow the request: a smaller directory or a closer pattern",
            Self::FileExists => "choose another name, or remove what is there first",
            Self::FileChanged => "read the file again and repeat the change on what it is now",
            Self::DirectoryNotEmpty => "remove it with `recursive`",
            Self::FileBusy => "try again when no program uses the file",
            Self::PortClosed => "start a program that listens on the port, and try again",
            Self::TtlTooLong => "ask for less, and extend it later",
            Self::TimeoutTooLong => "ask for less",
            Self::TooManySandboxes => "delete a sandbox or wait until one expires",
            Self::TooManyExecs => "wait for one to end, or use another sandbox",
            Self::Overloaded => "try again after the time in Retry-After",
            Self::ShuttingDown => "try again when the server is back",
            Self::StoreUnavailable => "try again later; the disk of the data directory may be full",
            Self::Internal => "report it with the request id; the server's log has the cause",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Code, Retry};

    #[test]
    fn every_reason_has_one_short_way_out() {
        for reason in Reason::ALL {
            let hint = reason.hint();
            assert!((1..=80).contains(&hint.len()) && !hint.ends_with('.'), "{reason:?}: {hint}");
        }
    }

    #[test]
    fn whether_to_try_again_follows_from_what_a_reason_means() {
        use Reason::{FileBusy, ImageNotFound, SandboxNotRunning};
        for reason in Reason::ALL.iter().copied() {
            let passes = matches!(reason, SandboxNotRunning | FileBusy)
                || reason.word().starts_with("too_many_")
                || reason.status() >= 500;
            assert_eq!(reason.retry() == Retry::Later, passes, "{reason:?}");
            // Never: about the request alone. After a change: about what is in the sandbox.
            let in_the_sandbox = reason.word().starts_with("file_")
                || reason.word().starts_with("workdir_")
                || reason.word().starts_with("user_")
                || matches!(reason, ImageNotFound)
                || reason.word().contains("director")
                || reason.word().starts_with("not_a_")
                || matches!(reason.word(), "permission_denied" | "no_space" | "too_large");
            let expected = in_the_sandbox && !passes;
            assert_eq!(reason.retry() == Retry::AfterChange, expected, "{reason:?}");
        }
    }

    #[test]
    fn only_ours_is_an_internal_error_and_only_an_outage_unavailable() {
        for reason in Reason::ALL.iter().copied() {
            let outage = matches!(reason.status(), 502 | 503);
            assert_eq!(reason.code() == Code::Unavailable, outage, "{reason:?}");
            assert_eq!(reason.code() == Code::InternalError, reason.status() == 500, "{reason:?}");
        }
    }
}
