//! The life of a sandbox as a pure function.
//!
//! ```text
//! Pending ──Begin──► Starting ──Created──► Running ◄──SeenRunning── Lost
//!    │                  │                     │ └────Unreachable────►│
//!    │Stop              │CreateFailed         │Stop                  │Stop
//!    ▼                  ▼ Stop                ▼                      ▼
//!  Gone(why) ◄──Destroyed, NotFound── Stopping(why) ◄────────────────┘
//!    ▲ for ever                          NotFound in Running, Lost → Gone(Vanished)
//! ```
//!
//! [`Phase::step`] decides; one place in the engine performs the [`Effect`]. Pausing joins with
//! the first driver that can pause.

use std::fmt;

/// Where a sandbox stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Its row exists, nothing else does.
    Pending,
    /// A create was asked of the provider and has not answered.
    Starting,
    /// It takes work.
    Running,
    /// It should run, but the provider or the agent does not answer.
    Lost,
    /// Its runtime is being destroyed.
    Stopping(EndReason),
    /// It has no runtime and never will again.
    Gone(EndReason),
}

/// Why a sandbox ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// Somebody deleted it.
    Requested,
    /// Its time to live ran out.
    Expired,
    /// It could not be created.
    Failed,
    /// Its runtime disappeared without being asked to.
    Vanished,
}

/// A wish of a caller, or a report of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Wish: create the runtime.
    Begin,
    /// Wish: destroy it, for this reason.
    Stop(EndReason),
    /// Wish: try an unfinished destroy again.
    Retry,
    /// Report: the create succeeded.
    Created,
    /// Report: the create failed, timed out or was cut off; something may be left of it.
    CreateFailed,
    /// Report: the destroy succeeded.
    Destroyed,
    /// Report: the destroy failed; the runtime may still be there.
    DestroyFailed,
    /// Report: the runtime does not exist.
    NotFound,
    /// Report: the provider or the agent does not answer.
    Unreachable,
    /// Report: the runtime is there and answers.
    SeenRunning,
}

/// What the engine does when it enters a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing.
    None,
    /// Ask the provider to create the runtime.
    Create,
    /// Ask the provider to destroy the runtime, or what there is of it.
    Destroy,
}

/// The answer to an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Enter `next`, then perform `effect`.
    Go {
        /// The new phase.
        next: Phase,
        /// What to do once it is stored.
        effect: Effect,
    },
    /// Nothing changes: a repeat, or news that no longer matters.
    Ignore,
    /// Not in this phase.
    Denied(Denied),
}

/// Why an input was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Denied {
    /// A sandbox is created once.
    #[error("the sandbox was already begun")]
    AlreadyBegun,
}

impl Phase {
    /// Decides what `input` does to a sandbox in this phase.
    #[must_use]
    pub fn step(self, input: Input) -> Step {
        match self {
            Self::Pending => from_pending(input),
            Self::Starting => from_starting(input),
            Self::Running | Self::Lost => from_alive(self, input),
            Self::Stopping(why) => from_stopping(why, input),
            Self::Gone(_) => from_gone(input),
        }
    }

    /// Whether nothing can happen to the sandbox any more.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Gone(_))
    }

    /// Whether the sandbox counts against limits on how many there may be.
    pub const fn holds_quota(self) -> bool {
        !self.is_terminal()
    }

    /// Whether a runtime may exist, so that one found without a row in these phases is an orphan.
    pub const fn may_hold_runtime(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Lost | Self::Stopping(_))
    }

    /// Whether the sandbox takes execs and file calls.
    pub const fn takes_work(self) -> bool {
        matches!(self, Self::Running)
    }

    /// Why the sandbox ends or ended.
    pub const fn end_reason(self) -> Option<EndReason> {
        match self {
            Self::Stopping(why) | Self::Gone(why) => Some(why),
            Self::Pending | Self::Starting | Self::Running | Self::Lost => None,
        }
    }

    /// The phase's name in the store, without its reason.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Lost => "lost",
            Self::Stopping(_) => "stopping",
            Self::Gone(_) => "gone",
        }
    }

    /// The phase of that name and reason, as [`name`](Self::name) and
    /// [`end_reason`](Self::end_reason) gave them.
    pub fn from_parts(name: &str, why: Option<EndReason>) -> Option<Self> {
        match (name, why) {
            ("pending", None) => Some(Self::Pending),
            ("starting", None) => Some(Self::Starting),
            ("running", None) => Some(Self::Running),
            ("lost", None) => Some(Self::Lost),
            ("stopping", Some(why)) => Some(Self::Stopping(why)),
            ("gone", Some(why)) => Some(Self::Gone(why)),
            _ => None,
        }
    }

    /// The published name of the state, as clients see it.
    pub const fn wire_state(self) -> &'static str {
        match self {
            Self::Pending | Self::Starting => "creating",
            Self::Running => "running",
            Self::Lost => "unhealthy",
            Self::Stopping(EndReason::Expired) => "expired",
            Self::Stopping(EndReason::Failed) | Self::Gone(EndReason::Failed) => "error",
            Self::Stopping(EndReason::Requested | EndReason::Vanished) => "destroying",
            Self::Gone(EndReason::Requested | EndReason::Expired | EndReason::Vanished) => {
                "destroyed"
            }
        }
    }
}

impl EndReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Requested, Self::Expired, Self::Failed, Self::Vanished];

    /// The reason's word, in the store and in events.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Expired => "expired",
            Self::Failed => "failed",
            Self::Vanished => "vanished",
        }
    }

    /// The reason of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.word() == word)
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

const fn go(next: Phase, effect: Effect) -> Step {
    Step::Go { next, effect }
}

fn from_pending(input: Input) -> Step {
    match input {
        Input::Begin => go(Phase::Starting, Effect::Create),
        Input::Stop(why) => go(Phase::Gone(why), Effect::None),
        Input::Retry
        | Input::Created
        | Input::CreateFailed
        | Input::Destroyed
        | Input::DestroyFailed
        | Input::NotFound
        | Input::Unreachable
        | Input::SeenRunning => Step::Ignore,
    }
}

fn from_starting(input: Input) -> Step {
    match input {
        Input::Begin => Step::Denied(Denied::AlreadyBegun),
        Input::Stop(why) => go(Phase::Stopping(why), Effect::Destroy),
        Input::Created => go(Phase::Running, Effect::None),
        Input::CreateFailed => go(Phase::Stopping(EndReason::Failed), Effect::Destroy),
        // The create may still be under way, so what an observer sees now settles nothing.
        Input::Retry
        | Input::Destroyed
        | Input::DestroyFailed
        | Input::NotFound
        | Input::Unreachable
        | Input::SeenRunning => Step::Ignore,
    }
}

fn from_alive(phase: Phase, input: Input) -> Step {
    match input {
        Input::Begin => Step::Denied(Denied::AlreadyBegun),
        Input::Stop(why) => go(Phase::Stopping(why), Effect::Destroy),
        Input::NotFound => go(Phase::Gone(EndReason::Vanished), Effect::None),
        Input::Unreachable if phase == Phase::Running => go(Phase::Lost, Effect::None),
        Input::SeenRunning if phase == Phase::Lost => go(Phase::Running, Effect::None),
        Input::Unreachable
        | Input::SeenRunning
        | Input::Retry
        | Input::Created
        | Input::CreateFailed
        | Input::Destroyed
        | Input::DestroyFailed => Step::Ignore,
    }
}

fn from_stopping(why: EndReason, input: Input) -> Step {
    match input {
        Input::Begin => Step::Denied(Denied::AlreadyBegun),
        Input::Destroyed | Input::NotFound => go(Phase::Gone(why), Effect::None),
        // A create that was under way when the stop came may have finished after the destroy.
        Input::Retry | Input::Created | Input::CreateFailed => {
            go(Phase::Stopping(why), Effect::Destroy)
        }
        Input::Stop(_) | Input::DestroyFailed | Input::Unreachable | Input::SeenRunning => {
            Step::Ignore
        }
    }
}

fn from_gone(input: Input) -> Step {
    match input {
        Input::Begin => Step::Denied(Denied::AlreadyBegun),
        Input::Stop(_)
        | Input::Retry
        | Input::Created
        | Input::CreateFailed
        | Input::Destroyed
        | Input::DestroyFailed
        | Input::NotFound
        | Input::Unreachable
        | Input::SeenRunning => Step::Ignore,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::select;

    fn inputs() -> impl Strategy<Value = Vec<Input>> {
        let mut all = vec![
            Input::Begin,
            Input::Retry,
            Input::Created,
            Input::CreateFailed,
            Input::Destroyed,
            Input::DestroyFailed,
            Input::NotFound,
            Input::Unreachable,
            Input::SeenRunning,
        ];
        all.extend(EndReason::ALL.map(Input::Stop));
        proptest::collection::vec(select(all), 0..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn gone_is_for_ever(inputs in inputs()) {
            let mut phase = Phase::Pending;
            for input in inputs {
                if let Step::Go { next, .. } = phase.step(input) {
                    prop_assert!(!phase.is_terminal(), "left {phase:?} by {input:?}");
                    phase = next;
                }
            }
        }

        #[test]
        fn a_sandbox_is_created_at_most_once(inputs in inputs()) {
            let (mut phase, mut creates) = (Phase::Pending, 0);
            for input in inputs {
                if let Step::Go { next, effect } = phase.step(input) {
                    creates += usize::from(effect == Effect::Create);
                    phase = next;
                }
            }
            prop_assert!(creates <= 1);
        }

        #[test]
        fn what_was_begun_is_gone_only_after_a_destroy_or_an_observed_absence(
            inputs in inputs(),
        ) {
            let mut phase = Phase::Pending;
            let mut may_exist = false;
            for input in inputs {
                let before = phase;
                if let Step::Go { next, effect } = phase.step(input) {
                    may_exist |= effect == Effect::Create;
                    phase = next;
                }
                if phase.is_terminal() && !before.is_terminal() && may_exist {
                    prop_assert!(matches!(input, Input::Destroyed | Input::NotFound));
                }
            }
        }

        #[test]
        fn a_stop_is_never_denied_and_always_leads_to_an_end(inputs in inputs()) {
            let mut phase = Phase::Pending;
            for input in inputs {
                if let Step::Go { next, .. } = phase.step(input) {
                    phase = next;
                }
            }
            match phase.step(Input::Stop(EndReason::Requested)) {
                Step::Go { next, .. } => prop_assert!(next.end_reason().is_some()),
                Step::Ignore => prop_assert!(phase.end_reason().is_some()),
                Step::Denied(why) => prop_assert!(false, "denied: {why}"),
            }
        }

        #[test]
        fn a_stored_phase_reads_back(inputs in inputs()) {
            let mut phase = Phase::Pending;
            for input in inputs {
                if let Step::Go { next, .. } = phase.step(input) {
                    phase = next;
                }
                prop_assert_eq!(Phase::from_parts(phase.name(), phase.end_reason()), Some(phase));
            }
        }
    }

    #[test]
    fn a_late_create_of_a_stopped_sandbox_is_destroyed() {
        let stopping = Phase::Stopping(EndReason::Requested);
        assert_eq!(stopping.step(Input::Created), go(stopping, Effect::Destroy));
    }

    #[test]
    fn a_failed_start_shows_as_an_error() {
        assert_eq!(Phase::Gone(EndReason::Failed).wire_state(), "error");
        assert_eq!(Phase::Stopping(EndReason::Expired).wire_state(), "expired");
        assert_eq!(Phase::Lost.wire_state(), "unhealthy");
    }
}
