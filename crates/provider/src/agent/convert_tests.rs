//! What a guest says, in our words.

use model::Reason;
use proto::{GuestError, GuestErrorKind};

use super::convert;

#[test]
fn every_kind_of_guest_error_is_a_reason_that_a_caller_can_act_on() {
    use GuestErrorKind as Kind;
    for (kind, reason) in [
        (Kind::NotFound, Reason::FileNotFound),
        (Kind::NotADirectory, Reason::NotADirectory),
        (Kind::IsADirectory, Reason::IsADirectory),
        (Kind::NotAFile, Reason::NotAFile),
        (Kind::PermissionDenied, Reason::PermissionDenied),
        (Kind::PathInvalid, Reason::PathInvalid),
        (Kind::NoSpace, Reason::NoSpace),
        (Kind::TooLarge, Reason::TooLarge),
        (Kind::Exists, Reason::FileExists),
        (Kind::NotEmpty, Reason::DirectoryNotEmpty),
        (Kind::Busy, Reason::FileBusy),
        (Kind::ConnectionRefused, Reason::PortClosed),
        (Kind::NoSuchExec, Reason::ExecNotFound),
        (Kind::NotRunning, Reason::ExecNotRunning),
        (Kind::InputClosed, Reason::StdinClosed),
        (Kind::Internal, Reason::SandboxUnreachable),
    ] {
        let failure = convert::guest_error(GuestError { kind, message: "m".to_owned() });
        assert_eq!(failure.reason, reason, "{kind:?}");
    }
}

#[test]
fn a_guests_own_trouble_is_for_the_log_and_its_words_are_bounded() {
    let said = |kind, message: String| convert::guest_error(GuestError { kind, message });
    let failure = said(GuestErrorKind::Internal, "/proc/7/fd/3: os error 5".to_owned());
    assert_eq!(failure.message, "the sandbox's agent failed");
    assert_eq!(failure.causes(), "/proc/7/fd/3: os error 5");
    let failure = said(GuestErrorKind::NoSpace, "x".repeat(100_000));
    assert_eq!(failure.message.chars().count(), 501);
}
