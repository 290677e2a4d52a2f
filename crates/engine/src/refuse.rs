//! The words in which the engine says no, each in one place.

use model::{EndReason, Failure, Phase, Reason, Sandbox, SandboxId};

/// No such sandbox.
pub(crate) fn not_found(id: &SandboxId) -> Failure {
    Failure::new(Reason::SandboxNotFound, format!("sandbox not found: {id}"))
}

/// The sandbox has ended.
pub(crate) fn gone(id: &SandboxId) -> Failure {
    Failure::new(Reason::SandboxGone, format!("sandbox destroyed: {id}"))
}

/// The sandbox takes no work now, or no more.
pub(crate) fn not_running(row: &Sandbox) -> Failure {
    let state = row.phase.wire_state();
    let failure = match row.phase {
        Phase::Lost => {
            Failure::new(Reason::SandboxUnreachable, format!("sandbox does not answer: {}", row.id))
                .hint("try again later, or delete the sandbox")
        }
        Phase::Gone(EndReason::Requested | EndReason::Expired | EndReason::Vanished) => {
            gone(&row.id)
        }
        Phase::Pending
        | Phase::Starting
        | Phase::Running
        | Phase::Stopping(_)
        | Phase::Gone(EndReason::Failed) => Failure::new(
            Reason::SandboxNotRunning,
            format!("sandbox is not running: {} is {state}", row.id),
        ),
    };
    failure.detail("state", state)
}

/// The server is on its way out.
pub(crate) fn shutting_down() -> Failure {
    Failure::new(Reason::ShuttingDown, "the server is shutting down")
}

/// No provider of that name.
pub(crate) fn provider_not_found(name: &str) -> Failure {
    Failure::new(Reason::ProviderNotFound, format!("provider not found: {name}"))
        .detail("provider", name)
}
