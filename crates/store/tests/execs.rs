//! What the store promises about execs that outlive their call, and about idempotency keys.

use std::time::Duration;

use model::{
    EventKind, ExecEnd, ExecId, ExecRecord, Outcome, Phase, Reason, Resources, Sandbox, SandboxId,
    StartFailure, Timestamp, Usage,
};
use stacyvm_store::{Inserted, Key, Limits, NewEvent, Record, Store};

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

fn exec(sandbox: &SandboxId, second: i64) -> ExecRecord {
    ExecRecord {
        id: ExecId::random(&mut rand::rng()),
        sandbox: sandbox.clone(),
        background: true,
        tty: false,
        owner: Some("alice".into()),
        started_at: at(second),
        end: None,
    }
}

fn end(outcome: Outcome) -> ExecEnd {
    ExecEnd {
        at: at(9),
        outcome,
        duration: Duration::from_micros(1234),
        stdout_bytes: 5,
        stderr_bytes: 6,
        usage: Usage { cpu: Duration::from_micros(7), memory_peak_bytes: 8 },
    }
}

fn some_sandbox() -> SandboxId {
    SandboxId::random(&mut rand::rng())
}

fn key(text: &str, fingerprint: &str) -> Key {
    Key { scope: "exec".into(), key: text.into(), fingerprint: fingerprint.into() }
}

fn record() -> Record {
    let event = NewEvent {
        kind: EventKind::ExecStarted,
        sandbox: None,
        at: at(1),
        data: std::collections::BTreeMap::new(),
    };
    Record { events: vec![event], audit: Vec::new() }
}

#[tokio::test]
async fn an_exec_reads_back_with_its_end_whatever_that_was() {
    let store = Store::open_in_memory().await.unwrap();
    let sandbox = some_sandbox();
    for outcome in [
        Outcome::Exited(3),
        Outcome::Signaled(9),
        Outcome::TimedOut,
        Outcome::OomKilled,
        Outcome::Canceled,
        Outcome::SandboxLost,
        Outcome::StartFailed(StartFailure::NotFound, "no such \"program\"".into()),
    ] {
        let begun = exec(&sandbox, 1);
        store.insert_exec(&begun, None, &record()).await.unwrap();
        assert_eq!(store.exec(&sandbox, &begun.id).await.unwrap().as_ref(), Some(&begun));
        assert_eq!(store.open_execs().await.unwrap(), std::slice::from_ref(&begun));
        let end = end(outcome);
        assert!(store.end_exec(&begun.id, &end, &record()).await.unwrap());
        let ended = ExecRecord { end: Some(end), ..begun };
        assert_eq!(store.exec(&sandbox, &ended.id).await.unwrap(), Some(ended));
        assert!(store.open_execs().await.unwrap().is_empty());
    }
    assert_eq!(store.execs(&sandbox, 100).await.unwrap().len(), 7);
    assert_eq!(store.execs(&sandbox, 2).await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_end_is_written_down_once() {
    let store = Store::open_in_memory().await.unwrap();
    let begun = exec(&some_sandbox(), 1);
    store.insert_exec(&begun, None, &record()).await.unwrap();
    assert!(store.end_exec(&begun.id, &end(Outcome::Exited(0)), &record()).await.unwrap());
    let again = store.end_exec(&begun.id, &end(Outcome::SandboxLost), &record()).await;
    assert!(!again.unwrap());
    assert_eq!(store.last_seq().await.unwrap(), 2);
    let row = store.exec(&begun.sandbox, &begun.id).await.unwrap().unwrap();
    assert_eq!(row.end.unwrap().outcome, Outcome::Exited(0));
}

#[tokio::test]
async fn an_exec_of_another_sandbox_is_not_found() {
    let store = Store::open_in_memory().await.unwrap();
    let begun = exec(&some_sandbox(), 1);
    store.insert_exec(&begun, None, &record()).await.unwrap();
    assert_eq!(store.exec(&some_sandbox(), &begun.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_key_makes_one_exec_and_refuses_another_request() {
    let store = Store::open_in_memory().await.unwrap();
    let (first, second) = (exec(&some_sandbox(), 1), exec(&some_sandbox(), 2));
    let used = key("k", "one");
    let new = store.insert_exec(&first, Some(&used), &record()).await.unwrap();
    assert_eq!(new, Inserted::New);
    let before = store.insert_exec(&second, Some(&used), &record()).await.unwrap();
    assert_eq!(before, Inserted::Before(first.id.clone()));
    let other = store.insert_exec(&second, Some(&key("k", "two")), &record()).await;
    assert_eq!(other.unwrap_err().reason, Reason::IdempotencyKeyReused);
    assert_eq!(store.last_seq().await.unwrap(), 1);
    let elsewhere = Key { scope: "other".into(), ..used };
    let new = store.insert_exec(&second, Some(&elsewhere), &record()).await.unwrap();
    assert_eq!(new, Inserted::New);
}

#[tokio::test]
async fn a_key_is_looked_at_before_the_limits() {
    let store = Store::open_in_memory().await.unwrap();
    let sandbox = || Sandbox {
        id: some_sandbox(),
        incarnation: 1,
        version: 1,
        phase: Phase::Starting,
        provider: "memory".into(),
        image: "host".into(),
        resources: Resources { memory_mib: 64, vcpus: 2, pids: 128 },
        owner: None,
        metadata: std::collections::BTreeMap::new(),
        created_at: at(1),
        expires_at: at(60),
        updated_at: at(1),
        handle: None,
        failure: None,
    };
    let limits = Limits { total: 1, per_owner: 0 };
    let (first, used) = (sandbox(), key("k", "one"));
    store.insert(&first, (limits, Some(&used)), &record()).await.unwrap();
    let again = store.insert(&sandbox(), (limits, Some(&used)), &record()).await.unwrap();
    assert_eq!(again, Inserted::Before(first.id));
    let fresh = store.insert(&sandbox(), (limits, Some(&key("n", "one"))), &record()).await;
    assert_eq!(fresh.unwrap_err().reason, Reason::TooManySandboxes);
}

#[tokio::test]
async fn forgetting_takes_ended_execs_and_old_keys_and_leaves_what_runs() {
    let store = Store::open_in_memory().await.unwrap();
    let sandbox = some_sandbox();
    let (open, over, used) = (exec(&sandbox, 1), exec(&sandbox, 1), key("k", "one"));
    store.insert_exec(&open, None, &record()).await.unwrap();
    store.insert_exec(&over, Some(&used), &record()).await.unwrap();
    store.end_exec(&over.id, &end(Outcome::Exited(0)), &record()).await.unwrap();
    store.purge(at(100)).await.unwrap();
    assert_eq!(store.execs(&sandbox, 10).await.unwrap(), [open]);
    let new = store.insert_exec(&exec(&sandbox, 101), Some(&used), &record()).await.unwrap();
    assert_eq!(new, Inserted::New);
}
