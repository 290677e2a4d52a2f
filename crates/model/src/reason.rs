//! The closed list of reasons why a request fails. Each has a page under `docs/errors/`.
//!
//! A [`Code`] is the coarse, published word; a [`Reason`] is the fine one that programs match on.

/// The coarse class of a failure, as published clients know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request is wrong and stays wrong.
    BadRequest,
    /// No credential, or not a valid one.
    Unauthorized,
    /// The credential does not allow it, or the sandbox's own permissions do not.
    Forbidden,
    /// The thing does not exist, or not for this caller.
    NotFound,
    /// A time limit ran out.
    Timeout,
    /// The state of the thing does not allow it.
    Conflict,
    /// A limit was reached.
    ResourceLimit,
    /// A defect or an outage of ours.
    InternalError,
    /// Something that is needed does not answer.
    Unavailable,
}

impl Code {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::BadRequest => "BAD_REQUEST",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::Timeout => "TIMEOUT",
            Self::Conflict => "CONFLICT",
            Self::ResourceLimit => "RESOURCE_LIMIT",
            Self::InternalError => "INTERNAL_ERROR",
            Self::Unavailable => "UNAVAILABLE",
        }
    }
}

/// Whether the same request can succeed another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// No: it has to be another request.
    Never,
    /// Yes, after a while.
    Later,
    /// Yes, once something else has changed: a file, a limit, the sandbox's state.
    AfterChange,
}

impl Retry {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Later => "later",
            Self::AfterChange => "after_change",
        }
    }
}

macro_rules! reasons {
    ($(
        $(#[$doc:meta])*
        $name:ident = $word:literal, $code:ident, $status:literal, $retry:ident;
    )*) => {
        /// Why a request failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The reason's word on the wire.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The reason's coarse class.
            pub const fn code(self) -> Code {
                match self { $(Self::$name => Code::$code,)* }
            }

            /// The HTTP status it is answered with.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// Whether the same request can succeed another time.
            pub const fn retry(self) -> Retry {
                match self { $(Self::$name => Retry::$retry,)* }
            }
        }
    };
}

reasons! {
    /// The body is not the JSON that the route reads.
    InvalidBody = "invalid_body", BadRequest, 400, Never;
    /// The body has a field that the route does not know.
    UnknownField = "unknown_field", BadRequest, 400, Never;
    /// A field or query parameter that must be there is not.
    MissingField = "missing_field", BadRequest, 400, Never;
    /// A field or query parameter has a value that is not allowed.
    InvalidField = "invalid_field", BadRequest, 400, Never;
    /// A path is not an absolute path of a possible file.
    PathInvalid = "path_invalid", BadRequest, 400, Never;
    /// The provider cannot do this.
    Unsupported = "unsupported", BadRequest, 400, Never;
    /// The working directory of an exec does not exist or may not be entered.
    WorkdirInvalid = "workdir_invalid", BadRequest, 400, AfterChange;
    /// The sandbox has no such user, or programs may not run as it.
    UserInvalid = "user_invalid", BadRequest, 400, AfterChange;
    /// An archive is not one, or holds what may not be unpacked.
    ArchiveInvalid = "archive_invalid", BadRequest, 400, Never;
    /// A key of an earlier request came with another request.
    IdempotencyKeyReused = "idempotency_key_reused", Conflict, 409, Never;
    /// The request's body is over its limit.
    BodyTooLarge = "body_too_large", BadRequest, 413, Never;
    /// No credential, or not a valid one.
    Unauthorized = "unauthorized", Unauthorized, 401, Never;
    /// The request comes from a web page, or under a host name, that the server does not know.
    OriginForbidden = "origin_forbidden", Forbidden, 403, Never;
    /// No such route.
    RouteNotFound = "route_not_found", NotFound, 404, Never;
    /// The route exists, the method does not.
    MethodNotAllowed = "method_not_allowed", BadRequest, 405, Never;
    /// No such sandbox, or not for this caller.
    SandboxNotFound = "sandbox_not_found", NotFound, 404, Never;
    /// The sandbox has ended.
    SandboxGone = "sandbox_gone", NotFound, 404, Never;
    /// The sandbox is being created or destroyed.
    SandboxNotRunning = "sandbox_not_running", Conflict, 409, Later;
    /// The sandbox should run, but does not answer.
    SandboxUnreachable = "sandbox_unreachable", Unavailable, 503, Later;
    /// The sandbox could not be created.
    CreateFailed = "create_failed", InternalError, 500, Later;
    /// No provider of that name is configured.
    ProviderNotFound = "provider_not_found", NotFound, 404, Never;
    /// The provider is configured but not usable now.
    ProviderUnavailable = "provider_unavailable", Unavailable, 503, Later;
    /// The provider has no such image.
    ImageNotFound = "image_not_found", NotFound, 404, AfterChange;
    /// The exec ran over its timeout and was ended.
    ExecTimeout = "exec_timeout", Timeout, 408, Never;
    /// The sandbox's agent does not know this exec.
    ExecNotFound = "exec_not_found", NotFound, 404, Never;
    /// The exec has ended, or has not what is asked of it.
    ExecNotRunning = "exec_not_running", Conflict, 409, Never;
    /// The exec takes no input, or none any more.
    StdinClosed = "stdin_closed", Conflict, 409, Never;
    /// No such file or directory.
    FileNotFound = "file_not_found", NotFound, 404, AfterChange;
    /// A part of the path is not a directory.
    NotADirectory = "not_a_directory", BadRequest, 400, AfterChange;
    /// The file is a directory.
    IsADirectory = "is_a_directory", BadRequest, 400, AfterChange;
    /// The file is a pipe, socket or device.
    NotAFile = "not_a_file", BadRequest, 400, AfterChange;
    /// The sandbox's user may not do this.
    PermissionDenied = "permission_denied", Forbidden, 403, AfterChange;
    /// The sandbox's file system is full.
    NoSpace = "no_space", ResourceLimit, 413, AfterChange;
    /// A file or an answer is over its limit.
    TooLarge = "too_large", ResourceLimit, 413, AfterChange;
    /// There is something at the target already.
    FileExists = "file_exists", Conflict, 409, AfterChange;
    /// The file is not what `If-Match` or `If-None-Match` says.
    FileChanged = "file_changed", Conflict, 412, AfterChange;
    /// The directory is not empty.
    DirectoryNotEmpty = "directory_not_empty", Conflict, 409, AfterChange;
    /// The file is in use.
    FileBusy = "file_busy", Conflict, 409, Later;
    /// Nothing in the sandbox listens on the port.
    PortClosed = "port_closed", Unavailable, 502, Later;
    /// The time to live is over its limit.
    TtlTooLong = "ttl_too_long", ResourceLimit, 429, Never;
    /// The exec's timeout is over its limit.
    TimeoutTooLong = "timeout_too_long", ResourceLimit, 429, Never;
    /// There are as many sandboxes as there may be.
    TooManySandboxes = "too_many_sandboxes", ResourceLimit, 429, Later;
    /// The sandbox runs as many execs as it may.
    TooManyExecs = "too_many_execs", ResourceLimit, 429, Later;
    /// The server is overloaded: its bounded queues are full.
    Overloaded = "overloaded", Unavailable, 503, Later;
    /// The server is stopping.
    ShuttingDown = "shutting_down", Unavailable, 503, Later;
    /// The server's own storage is read-only, full or does not answer.
    StoreUnavailable = "store_unavailable", Unavailable, 503, Later;
    /// A defect of ours; the log has the request id.
    Internal = "internal", InternalError, 500, Later;
}

impl Reason {
    /// The reason of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_its_own_word_and_an_error_status() {
        let words: HashSet<_> = Reason::ALL.iter().map(|reason| reason.word()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(Reason::from_word(reason.word()), Some(*reason));
            assert!((400..600).contains(&reason.status()), "{reason:?}");
        }
    }

    #[test]
    fn file_errors_are_never_the_servers_fault() {
        use Reason::{
            DirectoryNotEmpty, FileBusy, FileExists, FileNotFound, IsADirectory, NoSpace,
            NotADirectory, NotAFile, PathInvalid, PermissionDenied, TooLarge,
        };
        for reason in [
            DirectoryNotEmpty,
            FileBusy,
            FileExists,
            FileNotFound,
            IsADirectory,
            NoSpace,
            NotADirectory,
            NotAFile,
            PathInvalid,
            PermissionDenied,
            TooLarge,
        ] {
            assert!(reason.status() < 500, "{reason:?}");
        }
    }
}
