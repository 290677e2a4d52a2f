//! Programs and files in a sandbox, across lost connections and callers that leave.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::{Caller, ExecEvent, NewExec, WriteOptions};
use futures::{StreamExt, TryStreamExt, stream};
use model::{EventKind, FileOp, Outcome, Reason, Sandbox};
use tokio::sync::Semaphore;

use crate::chaos::{Call, Fault};
use crate::support::{World, options, shell};

fn nobody() -> Caller {
    Caller::default()
}

async fn world() -> (World, Sandbox) {
    let world = World::new(options()).await;
    let sandbox = world.create().await.unwrap();
    (world, sandbox)
}

/// Waits until an event of this kind is there.
async fn happened(world: &World, sandbox: &Sandbox, kind: EventKind) {
    let mut signal = world.engine.event_signal();
    while !world.kinds(sandbox).await.contains(&kind) {
        signal.changed().await.unwrap();
    }
}

#[tokio::test]
async fn a_result_has_output_outcome_and_a_record() {
    let (world, sandbox) = world().await;
    let caller = Caller { owner: Some("alice".into()), request_id: Some("r-1".into()) };
    let line = shell("echo out; echo err >&2; exit 3");
    let result = world.engine.exec_collect(&caller, &sandbox.id, line).await.unwrap();
    assert_eq!(result.outcome, Outcome::Exited(3));
    assert_eq!((result.stdout.bytes(), result.stderr.bytes()), (b"out\n".into(), b"err\n".into()));
    assert_eq!(
        world.kinds(&sandbox).await[2..],
        [EventKind::ExecStarted, EventKind::ExecCompleted]
    );
    let audit = world.store.audit_after(0, 100).await.unwrap();
    let last = audit.last().unwrap();
    assert_eq!((last.actor.as_str(), last.action.as_str()), ("alice", "exec"));
    assert_eq!((last.outcome.as_str(), last.request_id.as_deref()), ("exited", Some("r-1")));
    assert!(last.detail.contains("sha256:") && !last.detail.contains("echo"));
}

#[tokio::test]
async fn long_output_is_cut_in_an_answer_and_whole_in_a_stream() {
    let (world, sandbox) = world().await;
    let line = || shell("flood 3000000");
    let result = world.engine.exec_collect(&nobody(), &sandbox.id, line()).await.unwrap();
    assert_eq!(result.stdout.total(), 3_000_000);
    assert_eq!(result.stdout.bytes().len(), world.options.output_limit);
    let running = world.engine.exec(&nobody(), &sandbox.id, line()).await.unwrap();
    let events: Vec<_> = running.events.try_collect().await.unwrap();
    let length = |event: &ExecEvent| match event {
        ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes) => bytes.len(),
        ExecEvent::Exit(_) => 0,
    };
    assert_eq!(events.iter().map(length).sum::<usize>(), 3_000_000);
}

#[tokio::test]
async fn a_timeout_is_an_outcome_and_an_event() {
    let (world, sandbox) = world().await;
    let slow = NewExec { timeout: Some(Duration::from_millis(5)), ..shell("sleep 60") };
    let result = world.engine.exec_collect(&nobody(), &sandbox.id, slow).await.unwrap();
    assert_eq!(result.outcome, Outcome::TimedOut);
    assert_eq!(world.kinds(&sandbox).await.last(), Some(&EventKind::ExecTimeout));
}

#[tokio::test]
async fn a_lost_connection_loses_no_output() {
    let (world, sandbox) = world().await;
    let line = shell("echo one; sleep 0.05; echo two");
    let mut running = world.engine.exec(&nobody(), &sandbox.id, line).await.unwrap();
    let first = running.events.next().await.unwrap().unwrap();
    assert_eq!(first, ExecEvent::Stdout("one\n".into()));
    world.memory.sever(&sandbox.name());
    let rest: Vec<_> = running.events.try_collect().await.unwrap();
    assert_eq!(rest[0], ExecEvent::Stdout("two\n".into()));
    assert!(matches!(&rest[1], ExecEvent::Exit(exit) if exit.outcome == Outcome::Exited(0)));
}

#[tokio::test]
async fn a_sandbox_that_ends_under_a_program_is_its_outcome() {
    let (world, sandbox) = world().await;
    let mut running =
        world.engine.exec(&nobody(), &sandbox.id, shell("echo up; sleep 60")).await.unwrap();
    running.events.next().await.unwrap().unwrap();
    world.engine.delete(&nobody(), &sandbox.id, true).await.unwrap();
    let rest: Vec<_> = running.events.try_collect().await.unwrap();
    assert!(matches!(&rest[..], [ExecEvent::Exit(exit)] if exit.outcome == Outcome::SandboxLost));
    happened(&world, &sandbox, EventKind::ExecFailed).await;
}

#[tokio::test]
async fn a_caller_that_leaves_ends_its_program_only_if_it_asked_for_that() {
    for (kill_on_disconnect, outcome) in [(true, "canceled"), (false, "exited")] {
        let (world, sandbox) = world().await;
        let new = NewExec { kill_on_disconnect, ..shell("echo up; sleep 0.1") };
        let mut running = world.engine.exec(&nobody(), &sandbox.id, new).await.unwrap();
        running.events.next().await.unwrap().unwrap();
        drop(running);
        happened(&world, &sandbox, EventKind::ExecCompleted).await;
        let audit = world.store.audit_after(0, 100).await.unwrap();
        assert_eq!(audit.last().unwrap().outcome, outcome);
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_before_its_program_runs_leaves_no_program_behind() {
    let (world, sandbox) = world().await;
    // The next connection is a new one, and keeps its caller waiting.
    world.memory.sever(&sandbox.name());
    let permits = Arc::new(Semaphore::new(0));
    world.chaos.next(Call::Connect, Fault::Wait(permits.clone()));
    {
        let caller = nobody();
        let exec = world.engine.exec(&caller, &sandbox.id, shell("sleep 60"));
        tokio::pin!(exec);
        tokio::select! {
            answer = &mut exec => panic!("there is no connection yet: {answer:?}"),
            () = happened(&world, &sandbox, EventKind::ExecStarted) => {}
        }
    }
    permits.add_permits(1);
    happened(&world, &sandbox, EventKind::ExecCompleted).await;
    let audit = world.store.audit_after(0, 100).await.unwrap();
    assert_eq!(audit.last().unwrap().outcome, "canceled");
}

#[tokio::test]
async fn standard_input_reaches_the_program() {
    let (world, sandbox) = world().await;
    let new = NewExec { stdin: true, ..shell("cat") };
    let mut running = world.engine.exec(&nobody(), &sandbox.id, new).await.unwrap();
    let body = futures::stream::iter([Ok(Bytes::from_static(b"typed"))]).boxed();
    let input = (body, true);
    let sent = world.engine.exec_stdin(&nobody(), (&sandbox.id, &running.id), input).await;
    assert_eq!(sent.unwrap(), 5);
    let first = running.events.next().await.unwrap().unwrap();
    assert_eq!(first, ExecEvent::Stdout("typed".into()));
}

#[tokio::test]
async fn a_working_directory_that_is_not_there_is_the_callers_mistake() {
    let (world, sandbox) = world().await;
    let new = NewExec { workdir: Some("/nowhere".into()), ..shell("true") };
    let failure = world.engine.exec_collect(&nobody(), &sandbox.id, new).await.unwrap_err();
    assert_eq!(failure.reason, Reason::WorkdirInvalid);
}

#[tokio::test]
async fn a_written_file_is_an_event_and_reads_back_over_a_new_connection() {
    let (world, sandbox) = world().await;
    let path = "/workspace/a".parse().unwrap();
    let body = stream::iter([Ok("hello".into())]).boxed();
    let options = (&path, WriteOptions::default());
    let stored = world.engine.write_file(&nobody(), &sandbox.id, options, body).await.unwrap();
    assert_eq!(stored.bytes, 5);
    assert_eq!(world.kinds(&sandbox).await.last(), Some(&EventKind::FileWritten));
    world.memory.sever(&sandbox.name());
    let all = engine::ByteRange::default();
    let (info, body) = world.engine.read_file(&nobody(), &sandbox.id, &path, all).await.unwrap();
    let read: Vec<_> = body.try_collect().await.unwrap();
    assert_eq!((info.size, read.concat()), (5, b"hello".to_vec()));
}

#[tokio::test]
async fn a_change_that_failed_is_in_the_audit_trail_and_is_no_event() {
    let (world, sandbox) = world().await;
    let op = FileOp::Delete { path: "/nothing".parse().unwrap(), recursive: false };
    let failure = world.engine.fs(&nobody(), &sandbox.id, op).await.unwrap_err();
    assert_eq!(failure.reason, Reason::FileNotFound);
    assert!(!world.kinds(&sandbox).await.contains(&EventKind::FileWritten));
    let audit = world.store.audit_after(0, 100).await.unwrap();
    let last = audit.last().unwrap();
    assert_eq!((last.action.as_str(), last.outcome.as_str()), ("file.delete", "file_not_found"));
}
