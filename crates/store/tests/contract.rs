//! What the store promises its caller, whatever database is behind it: changes with their events
//! and audit records as one, numbers without gaps, limits that hold, and a failure instead of
//! half a write.

#![expect(clippy::unwrap_used, reason = "what a fixture cannot do fails its test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{EndReason, EventKind, Phase, Reason, Resources, Sandbox, SandboxId, Timestamp};
use stacyvm_store::{
    ACTOR_SYSTEM, ActiveCount, AuditEntry, Limits, NewEvent, Record, Shown, Store, TransitionError,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

fn sandbox(second: i64) -> Sandbox {
    Sandbox {
        id: SandboxId::random(&mut rand::rng()),
        incarnation: 1,
        version: 1,
        phase: Phase::Starting,
        provider: "memory".into(),
        image: "host".into(),
        resources: Resources { memory_mib: 64, vcpus: 2, pids: 128 },
        owner: Some("alice".into()),
        metadata: BTreeMap::from([("team".into(), "a \"b\"\nü".into())]),
        created_at: at(second),
        expires_at: at(second + 60),
        updated_at: at(second),
        handle: None,
        failure: None,
    }
}

fn event(kind: EventKind, sandbox: &Sandbox) -> NewEvent {
    let data = BTreeMap::from([("reason".to_owned(), "'; DROP TABLE events; --".to_owned())]);
    NewEvent { kind, sandbox: Some(sandbox.id.clone()), at: sandbox.updated_at, data }
}

fn entry(sandbox: &Sandbox, detail: &str) -> AuditEntry {
    AuditEntry {
        at: sandbox.updated_at,
        actor: ACTOR_SYSTEM.into(),
        action: "sandbox.create",
        sandbox: Some(sandbox.id.clone()),
        outcome: "ok".into(),
        request_id: Some("r-1".into()),
        detail: detail.into(),
    }
}

fn record(kind: EventKind, sandbox: &Sandbox) -> Record {
    Record { events: vec![event(kind, sandbox)], audit: vec![entry(sandbox, "")] }
}

async fn insert(store: &Store, sandbox: &Sandbox) {
    let record = record(EventKind::SandboxCreated, sandbox);
    store.insert(sandbox, (Limits::default(), None), &record).await.unwrap();
}

async fn moved(store: &Store, before: &Sandbox, phase: Phase) -> Sandbox {
    let after = Sandbox { phase, ..before.clone() };
    store.transition(before, after, &Record::default()).await.unwrap()
}

#[tokio::test]
async fn a_row_reads_back_as_it_was_written() {
    let store = Store::open_in_memory().await.unwrap();
    let before = sandbox(1);
    insert(&store, &before).await;
    assert_eq!(store.get(&before.id).await.unwrap().as_ref(), Some(&before));
    let after = Sandbox {
        phase: Phase::Stopping(EndReason::Failed),
        expires_at: at(99),
        updated_at: at(2),
        handle: Some("{}".into()),
        failure: Some((Reason::ImageNotFound, "no such image".into())),
        ..before.clone()
    };
    let stored = store.transition(&before, after.clone(), &Record::default()).await.unwrap();
    assert_eq!(stored, Sandbox { version: 2, ..after });
    assert_eq!(store.get(&before.id).await.unwrap(), Some(stored));
    assert_eq!(store.get(&sandbox(1).id).await.unwrap(), None);
}

#[tokio::test]
async fn of_two_changes_from_the_same_version_one_is_stored_and_the_other_leaves_no_trace() {
    let store = Store::open_in_memory().await.unwrap();
    let row = sandbox(1);
    insert(&store, &row).await;
    let change = |phase, kind| {
        let after = Sandbox { phase, ..row.clone() };
        let record = record(kind, &after);
        let (store, row) = (store.clone(), row.clone());
        async move { store.transition(&row, after, &record).await }
    };
    let (one, two) = tokio::join!(
        change(Phase::Running, EventKind::SandboxRunning),
        change(Phase::Stopping(EndReason::Requested), EventKind::SandboxDestroying)
    );
    assert!(one.is_ok() != two.is_ok());
    let lost = if one.is_ok() { two } else { one };
    assert!(matches!(lost, Err(TransitionError::Conflict)));
    assert_eq!(store.events_after(0, 10).await.unwrap().len(), 2);
    assert_eq!(store.audit_after(0, 10).await.unwrap().len(), 2);
    assert_eq!(store.last_seq().await.unwrap(), 2);
}

#[tokio::test]
async fn events_are_numbered_without_gaps_whatever_fails_in_between() {
    let store = Store::open_in_memory().await.unwrap();
    let limits = Limits { total: 2, per_owner: 0 };
    let mut signal = store.committed();
    for second in 0..4 {
        let new = sandbox(second);
        let record = record(EventKind::SandboxCreated, &new);
        let inserted = store.insert(&new, (limits, None), &record).await;
        assert_eq!(inserted.is_ok(), second < 2);
        store.append(&record).await.unwrap();
    }
    let numbers: Vec<i64> =
        store.events_after(0, 100).await.unwrap().iter().map(|event| event.seq).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    assert_eq!(*signal.borrow_and_update(), 6);
    let page = store.events_after(4, 1).await.unwrap();
    assert_eq!(page[0].seq, 5);
    assert_eq!(page[0].data["reason"], "'; DROP TABLE events; --");
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_at_the_same_time_get_different_numbers_in_the_order_of_their_commits() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("a b?#%.db")).await.unwrap();
    let row = Arc::new(sandbox(1));
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, row) = (store.clone(), Arc::clone(&row));
        writers.spawn(async move {
            for _ in 0..10 {
                store.append(&record(EventKind::ExecStarted, &row)).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let events = store.events_after(0, 1000).await.unwrap();
    let numbers: Vec<i64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (1..=80).collect::<Vec<i64>>());
    assert_eq!(*store.committed().borrow(), 80);
}

#[tokio::test]
async fn limits_count_what_is_not_over_in_all_and_of_one_owner() {
    let store = Store::open_in_memory().await.unwrap();
    let first = sandbox(1);
    insert(&store, &first).await;
    let second = Sandbox { owner: None, ..sandbox(2) };
    insert(&store, &second).await;
    let refused = async |limits| {
        let new = sandbox(3);
        let failure = store.insert(&new, (limits, None), &Record::default()).await.unwrap_err();
        assert_eq!(failure.reason, Reason::TooManySandboxes);
        assert_eq!(store.get(&new.id).await.unwrap(), None);
        failure
    };
    let failure = refused(Limits { total: 2, per_owner: 0 }).await;
    assert_eq!(failure.message, "resource limit exceeded: max sandboxes reached (2)");
    assert_eq!(failure.details["limit"], "defaults.max_sandboxes".into());
    assert_eq!(failure.details["max"], 2.into());
    let failure = refused(Limits { total: 0, per_owner: 1 }).await;
    assert_eq!(failure.message, "resource limit exceeded: max sandboxes per owner reached (1)");
    assert_eq!(failure.details["limit"], "defaults.max_sandboxes_per_owner".into());
    let active = store.count_active(Some("alice")).await.unwrap();
    assert_eq!(active, ActiveCount { total: 2, owner: 1 });

    moved(&store, &first, Phase::Gone(EndReason::Requested)).await;
    let limits = Limits { total: 2, per_owner: 1 };
    store.insert(&sandbox(3), (limits, None), &Record::default()).await.unwrap();
    assert_eq!(store.count_by_provider().await.unwrap(), BTreeMap::from([("memory".into(), 2)]));
}

#[tokio::test]
async fn lists_are_newest_first_and_leave_out_what_was_destroyed() {
    let store = Store::open_in_memory().await.unwrap();
    let rows: Vec<Sandbox> = (0..4).map(sandbox).collect();
    for row in &rows {
        insert(&store, row).await;
    }
    moved(&store, &rows[0], Phase::Gone(EndReason::Requested)).await;
    moved(&store, &rows[1], Phase::Gone(EndReason::Failed)).await;
    moved(&store, &rows[2], Phase::Running).await;
    let ids = |rows: Vec<Sandbox>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
    let of = |indexes: &[usize]| indexes.iter().map(|at| rows[*at].id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(store.list(Shown::Present).await.unwrap()), of(&[3, 2, 1]));
    assert_eq!(ids(store.list(Shown::All).await.unwrap()), of(&[3, 2, 1, 0]));
    let mut live = ids(store.live().await.unwrap());
    live.sort();
    let mut expected = of(&[2, 3]);
    expected.sort();
    assert_eq!(live, expected);
}

#[tokio::test]
async fn expiry_is_about_sandboxes_whose_end_has_not_begun() {
    let store = Store::open_in_memory().await.unwrap();
    assert_eq!(store.next_expiry().await.unwrap(), None);
    let rows: Vec<Sandbox> = (0..3).map(sandbox).collect();
    for row in &rows {
        insert(&store, row).await;
    }
    moved(&store, &rows[0], Phase::Stopping(EndReason::Requested)).await;
    assert_eq!(store.next_expiry().await.unwrap(), Some(at(61)));
    assert!(store.expired(at(60)).await.unwrap().is_empty());
    let expired = store.expired(at(61)).await.unwrap();
    assert_eq!(expired.len(), 1);
    assert_eq!(expired[0].id, rows[1].id);
}

#[tokio::test]
async fn forgetting_takes_the_old_and_leaves_the_living_and_the_numbers() {
    let store = Store::open_in_memory().await.unwrap();
    let (old, living) = (sandbox(1), sandbox(1));
    insert(&store, &old).await;
    insert(&store, &living).await;
    moved(&store, &old, Phase::Gone(EndReason::Expired)).await;
    let purged = store.purge(at(2)).await.unwrap();
    assert_eq!((purged.sandboxes, purged.events), (1, 2));
    assert_eq!(store.get(&old.id).await.unwrap(), None);
    assert!(store.get(&living.id).await.unwrap().is_some());
    store.append(&record(EventKind::ExecStarted, &living)).await.unwrap();
    assert_eq!(store.events_after(0, 10).await.unwrap()[0].seq, 3);
    assert_eq!(store.audit_after(0, 10).await.unwrap().len(), 3, "audit records are kept");
}

#[tokio::test]
async fn an_audit_detail_is_cut_at_two_kibibytes_between_characters() {
    let store = Store::open_in_memory().await.unwrap();
    let row = sandbox(1);
    let long = format!("x{}", "ü".repeat(3000));
    let record = Record { events: Vec::new(), audit: vec![entry(&row, &long)] };
    store.append(&record).await.unwrap();
    let stored = store.audit_after(0, 1).await.unwrap();
    assert_eq!(stored[0].detail.len(), 2047);
    assert_eq!((stored[0].seq, stored[0].request_id.as_deref()), (1, Some("r-1")));
}

#[tokio::test]
async fn what_was_written_is_there_when_the_file_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stacyvm.db");
    let row = sandbox(1);
    let store = Store::open(&path).await.unwrap();
    insert(&store, &row).await;
    store.close().await;
    let store = Store::open(&path).await.unwrap();
    assert_eq!(store.get(&row.id).await.unwrap(), Some(row));
    assert_eq!(*store.committed().borrow(), 1);
    store.ping().await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stacyvm.db");
    let store = Store::open(&path).await.unwrap();
    insert(&store, &sandbox(1)).await;
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_or_has_no_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("notes.txt");
    std::fs::write(
        &text,
        "these are notes, and far more than a header's worth of them ".repeat(99),
    )
    .unwrap();
    for path in [text, directory.path().join("missing/stacyvm.db")] {
        let failure = Store::open(&path).await.unwrap_err();
        assert_eq!(failure.reason, Reason::StoreUnavailable, "{failure:?}");
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stacyvm.db");
    Store::open(&path).await.unwrap().close().await;
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer
        .execute("INSERT INTO schema_migrations (version, name) VALUES (999, 'later')", [])
        .unwrap();
    newer.close().unwrap();
    let failure = Store::open(&path).await.unwrap_err();
    assert!(failure.message.starts_with("the database has schema 999"), "{failure}");
}

#[tokio::test]
async fn a_store_that_does_not_answer_says_so_and_has_written_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stacyvm.db");
    let store = Store::open(&path).await.unwrap();
    let row = sandbox(1);
    insert(&store, &row).await;
    store.close().await;
    let failure = store.ping().await.unwrap_err();
    assert_eq!(failure.reason, Reason::StoreUnavailable);
    assert_eq!(failure.message, "the server's storage does not answer");
    let after = Sandbox { phase: Phase::Running, ..row.clone() };
    let change = store.transition(&row, after, &Record::default()).await;
    assert!(matches!(change, Err(TransitionError::Failed(_))));
    let store = Store::open(&path).await.unwrap();
    assert_eq!(store.get(&row.id).await.unwrap(), Some(row));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_cut_off_blocks_nobody_and_writes_all_or_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("stacyvm.db")).await.unwrap();
    for micros in 0..100 {
        let row = sandbox(1);
        let new = record(EventKind::SandboxCreated, &row);
        let insert = store.insert(&row, (Limits::default(), None), &new);
        let _ = tokio::time::timeout(Duration::from_micros(micros * 10), insert).await;
    }
    store.append(&record(EventKind::ExecStarted, &sandbox(1))).await.unwrap();
    let rows = store.list(Shown::All).await.unwrap().len();
    let events = store.events_after(0, 1000).await.unwrap();
    assert_eq!(events.len(), rows + 1);
    assert_eq!(events.last().unwrap().seq, i64::try_from(rows).unwrap() + 1);
}
