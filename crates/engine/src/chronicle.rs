//! What is written down about a change: pure functions from what happened to events and audit
//! records.

use std::collections::BTreeMap;

use model::{EndReason, EventKind, ExecProgram, Phase, Sandbox, SandboxId, Timestamp};
use sha2::{Digest, Sha256};
use store::{ACTOR_SYSTEM, AuditEntry, NewEvent, Record};

use crate::request::Caller;

/// Facts of an event.
pub(crate) type Facts = BTreeMap<String, String>;

/// Facts from pairs.
pub(crate) fn facts<const N: usize>(pairs: [(&str, String); N]) -> Facts {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// An audit record's fixed part.
pub(crate) fn audit(
    caller: &Caller,
    action: &'static str,
    outcome: impl Into<String>,
    at: Timestamp,
) -> AuditEntry {
    AuditEntry {
        at,
        actor: caller.owner.clone().unwrap_or_else(|| ACTOR_SYSTEM.to_owned()),
        action,
        sandbox: None,
        outcome: outcome.into(),
        request_id: caller.request_id.clone(),
        detail: String::new(),
    }
}

/// About a new row.
pub(crate) fn created(row: &Sandbox, caller: &Caller) -> Record {
    let data = facts([("provider", row.provider.clone()), ("image", row.image.clone())]);
    let event = NewEvent {
        kind: EventKind::SandboxCreated,
        sandbox: Some(row.id.clone()),
        at: row.created_at,
        data,
    };
    let entry = AuditEntry {
        sandbox: Some(row.id.clone()),
        detail: format!("provider={} image={}", row.provider, row.image),
        ..audit(caller, "sandbox.create", "begun", row.created_at)
    };
    Record { events: vec![event], audit: vec![entry] }
}

/// About a row that entered another phase. Only a change that clients can see is an event.
pub(crate) fn moved(before: Phase, after: &Sandbox, caller: &Caller) -> Record {
    let (action, outcome) = match after.phase {
        Phase::Pending | Phase::Starting => ("sandbox.create", "begun"),
        Phase::Running if before == Phase::Lost => ("sandbox.recover", "ok"),
        Phase::Running => ("sandbox.create", "ok"),
        Phase::Lost => ("sandbox.lose", "ok"),
        Phase::Stopping(EndReason::Requested) => ("sandbox.delete", "begun"),
        Phase::Stopping(EndReason::Expired) => ("sandbox.expire", "begun"),
        Phase::Stopping(EndReason::Failed) => ("sandbox.create", "failed"),
        Phase::Stopping(EndReason::Vanished) => ("sandbox.vanish", "begun"),
        Phase::Gone(EndReason::Requested) => ("sandbox.delete", "ok"),
        Phase::Gone(EndReason::Expired) => ("sandbox.expire", "ok"),
        Phase::Gone(EndReason::Failed) => ("sandbox.create", "removed"),
        Phase::Gone(EndReason::Vanished) => ("sandbox.vanish", "ok"),
    };
    let failure = after.failure.as_ref();
    let entry = AuditEntry {
        sandbox: Some(after.id.clone()),
        detail: failure.map_or_else(String::new, |(reason, _)| reason.word().to_owned()),
        ..audit(caller, action, outcome, after.updated_at)
    };
    Record { events: event_of(before, after).into_iter().collect(), audit: vec![entry] }
}

fn event_of(before: Phase, after: &Sandbox) -> Option<NewEvent> {
    let kind = match after.phase {
        Phase::Pending | Phase::Starting => return None,
        Phase::Running => EventKind::SandboxRunning,
        Phase::Lost => EventKind::SandboxUnhealthy,
        Phase::Stopping(EndReason::Expired) => EventKind::SandboxExpired,
        Phase::Gone(EndReason::Failed) if before == Phase::Stopping(EndReason::Failed) => {
            return None;
        }
        Phase::Stopping(EndReason::Failed) | Phase::Gone(EndReason::Failed) => {
            EventKind::SandboxError
        }
        Phase::Stopping(EndReason::Requested | EndReason::Vanished) => EventKind::SandboxDestroying,
        Phase::Gone(EndReason::Requested | EndReason::Expired | EndReason::Vanished) => {
            EventKind::SandboxDestroyed
        }
    };
    let mut data = Facts::new();
    if let Some(why) = after.phase.end_reason() {
        data.insert("reason".into(), why.word().into());
    }
    if let Some((reason, message)) = &after.failure {
        data.insert("failure".into(), reason.word().into());
        data.insert("message".into(), message.clone());
    }
    Some(NewEvent { kind, sandbox: Some(after.id.clone()), at: after.updated_at, data })
}

/// About a moved expiry.
pub(crate) fn extended(after: &Sandbox, caller: &Caller) -> Record {
    let data = facts([("expires_at", after.expires_at.to_string())]);
    let event = NewEvent {
        kind: EventKind::SandboxExtended,
        sandbox: Some(after.id.clone()),
        at: after.updated_at,
        data,
    };
    let entry = AuditEntry {
        sandbox: Some(after.id.clone()),
        detail: after.expires_at.to_string(),
        ..audit(caller, "sandbox.extend", "ok", after.updated_at)
    };
    Record { events: vec![event], audit: vec![entry] }
}

/// About something in a sandbox.
pub(crate) fn inside(
    sandbox: &SandboxId,
    event: Option<(EventKind, Facts)>,
    entry: AuditEntry,
) -> Record {
    let at = entry.at;
    let sandbox = Some(sandbox.clone());
    let event = event.map(|(kind, data)| NewEvent { kind, sandbox: sandbox.clone(), at, data });
    Record { events: event.into_iter().collect(), audit: vec![AuditEntry { sandbox, ..entry }] }
}

/// About what reconciling put right.
pub(crate) fn reconciled(sandbox: &SandboxId, data: Facts, at: Timestamp) -> Record {
    let entry = AuditEntry {
        detail: data.get("action").cloned().unwrap_or_default(),
        ..audit(&Caller::default(), "reconcile", "ok", at)
    };
    inside(sandbox, Some((EventKind::ReconcileAction, data)), entry)
}

/// Tells one program from another in the audit trail without showing what it says.
pub(crate) fn program_digest(program: &ExecProgram) -> String {
    let mut digest = Sha256::new();
    match program {
        ExecProgram::Shell(line) => {
            digest.update(b"shell\0");
            digest.update(line);
        }
        ExecProgram::Argv(argv) => {
            digest.update(b"argv\0");
            for arg in argv {
                digest.update(arg);
                digest.update(b"\0");
            }
        }
    }
    let mut text = String::from("sha256:");
    for byte in digest.finalize() {
        use std::fmt::Write;
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
    }
    text
}
