//! Events: what happened, in an order without gaps.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::id::SandboxId;

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A sandbox's row was made.
    SandboxCreated,
    /// A sandbox takes work (again).
    SandboxRunning,
    /// A sandbox does not answer.
    SandboxUnhealthy,
    /// A sandbox's destruction began.
    SandboxDestroying,
    /// A sandbox's time ran out; its destruction began.
    SandboxExpired,
    /// A sandbox is gone.
    SandboxDestroyed,
    /// A sandbox could not be created.
    SandboxError,
    /// A sandbox's expiry was moved.
    SandboxExtended,
    /// A program was started.
    ExecStarted,
    /// A program ended by itself.
    ExecCompleted,
    /// A program was ended at its timeout.
    ExecTimeout,
    /// A program could not be started, or its sandbox was lost.
    ExecFailed,
    /// A file was written, moved, changed or deleted.
    FileWritten,
    /// Reconciling put something right.
    ReconcileAction,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::SandboxCreated,
        Self::SandboxRunning,
        Self::SandboxUnhealthy,
        Self::SandboxDestroying,
        Self::SandboxExpired,
        Self::SandboxDestroyed,
        Self::SandboxError,
        Self::SandboxExtended,
        Self::ExecStarted,
        Self::ExecCompleted,
        Self::ExecTimeout,
        Self::ExecFailed,
        Self::FileWritten,
        Self::ReconcileAction,
    ];

    /// The kind's word, in the store and on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::SandboxCreated => "sandbox.created",
            Self::SandboxRunning => "sandbox.running",
            Self::SandboxUnhealthy => "sandbox.unhealthy",
            Self::SandboxDestroying => "sandbox.destroying",
            Self::SandboxExpired => "sandbox.expired",
            Self::SandboxDestroyed => "sandbox.destroyed",
            Self::SandboxError => "sandbox.error",
            Self::SandboxExtended => "sandbox.extended",
            Self::ExecStarted => "exec.started",
            Self::ExecCompleted => "exec.completed",
            Self::ExecTimeout => "exec.timeout",
            Self::ExecFailed => "exec.failed",
            Self::FileWritten => "file.written",
            Self::ReconcileAction => "reconcile.action",
        }
    }

    /// The kind of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the order of all events, from 1, without gaps.
    pub seq: i64,
    /// What happened.
    pub kind: EventKind,
    /// The sandbox that it happened to.
    pub sandbox: Option<SandboxId>,
    /// When.
    pub at: Timestamp,
    /// Facts, by name.
    pub data: BTreeMap<String, String>,
}
