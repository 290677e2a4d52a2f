//! Programs in the background: across crashes of the engine, lost connections and the end of their
//! sandbox; their readers; and requests that are sent again under their key.

use std::sync::Arc;

use engine::{Caller, IdempotencyKey, NewExec, NewSandbox, Offsets, OutputRange, WatchEvent};
use futures::{StreamExt, TryStreamExt, stream};
use model::{EventKind, ExecEnd, ExecId, Outcome, Reason, Sandbox, StartFailure};
use provider::{Guest, Provider, RuntimeHandle};
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

async fn start(world: &World, sandbox: &Sandbox, line: &str) -> ExecId {
    world.engine.exec_background(&nobody(), &sandbox.id, shell(line)).await.unwrap().id
}

/// A connection of the test's own to the sandbox's agent.
async fn agent(world: &World, sandbox: &Sandbox) -> Arc<dyn Guest> {
    let handle = RuntimeHandle(sandbox.handle.clone().unwrap());
    world.memory.connect(&sandbox.name(), &handle).await.unwrap()
}

/// Starts a program that runs until [`finish`] ends it, with status 7 and what it was sent.
async fn start_reading(world: &World, sandbox: &Sandbox) -> ExecId {
    let new = NewExec { stdin: true, ..shell("cat; exit 7") };
    world.engine.exec_background(&nobody(), &sandbox.id, new).await.unwrap().id
}

/// Ends such a program behind the engine's back, and returns when the agent says that it is over.
async fn finish(world: &World, sandbox: &Sandbox, id: &ExecId) {
    let agent = agent(world, sandbox).await;
    let body = stream::iter([Ok("typed".into())]).boxed();
    agent.send_stdin(id, body, true).await.unwrap();
    agent.wait(id).await.unwrap().events.try_collect::<Vec<_>>().await.unwrap();
}

/// How the program ended, once that is written down.
async fn end(world: &World, sandbox: &Sandbox, id: &ExecId) -> ExecEnd {
    let mut signal = world.engine.event_signal();
    loop {
        if let Some(end) = world.store.exec(&sandbox.id, id).await.unwrap().unwrap().end {
            return end;
        }
        signal.changed().await.unwrap();
    }
}

/// What the events say about a program, in order; and that no event is missing.
async fn told(world: &World, id: &ExecId) -> Vec<EventKind> {
    let events = world.store.events_after(0, 10_000).await.unwrap();
    assert!(events.iter().zip(1..).all(|(event, seq)| event.seq == seq), "there is a gap");
    let of = |data: &std::collections::BTreeMap<String, String>| {
        data.get("exec_id").is_some_and(|exec| *exec == id.to_string())
    };
    events.iter().filter(|event| of(&event.data)).map(|event| event.kind).collect()
}

/// A reader's bytes of standard output, each of which has to come right behind the one before;
/// and whether it was told of the exit.
async fn read(world: &World, sandbox: &Sandbox, id: &ExecId, follow: bool) -> (Vec<u8>, bool) {
    let range = OutputRange { from: Offsets::default(), follow };
    let mut events = world.engine.exec_output(&nobody(), (&sandbox.id, id), range).await.unwrap();
    let mut all = Vec::new();
    while let Some(event) = events.next().await {
        match event.unwrap() {
            WatchEvent::Stdout { offset, bytes } => {
                assert_eq!(offset, all.len() as u64, "bytes are lost or doubled");
                all.extend_from_slice(&bytes);
            }
            WatchEvent::Stderr { .. } => panic!("nothing is written there"),
            WatchEvent::Exit(_) => return (all, true),
        }
    }
    (all, false)
}

fn key(request: &str) -> IdempotencyKey {
    IdempotencyKey { key: "k".to_owned(), fingerprint: request.to_owned() }
}

#[tokio::test]
async fn a_program_is_found_again_after_a_crash_and_its_end_recorded_once() {
    let (mut world, sandbox) = world().await;
    let quick = start(&world, &sandbox, "true").await;
    let slow = start_reading(&world, &sandbox).await;
    assert_eq!(end(&world, &sandbox, &quick).await.outcome, Outcome::Exited(0));
    for _ in 0..3 {
        world.crash().await.unwrap();
    }
    finish(&world, &sandbox, &slow).await;
    assert_eq!(end(&world, &sandbox, &slow).await.outcome, Outcome::Exited(7));
    world.crash().await.unwrap();
    world.engine.reconcile().await.unwrap();
    for id in [quick, slow] {
        let kinds = told(&world, &id).await;
        assert_eq!(kinds, [EventKind::ExecStarted, EventKind::ExecCompleted]);
    }
}

#[tokio::test]
async fn an_end_while_no_engine_ran_is_recorded_as_it_was() {
    let (mut world, sandbox) = world().await;
    let id = start_reading(&world, &sandbox).await;
    world.engine.abandon();
    finish(&world, &sandbox, &id).await;
    let row = world.store.exec(&sandbox.id, &id).await.unwrap().unwrap();
    assert!(row.end.is_none(), "nobody was there to write it down");
    world.crash().await.unwrap();
    let end = end(&world, &sandbox, &id).await;
    assert_eq!((end.outcome, end.stdout_bytes), (Outcome::Exited(7), 5));
    assert_eq!(told(&world, &id).await, [EventKind::ExecStarted, EventKind::ExecCompleted]);
}

#[tokio::test]
async fn a_start_that_never_reached_the_agent_has_failed_after_a_crash() {
    let (mut world, sandbox) = world().await;
    world.memory.sever(&sandbox.name());
    world.chaos.next(Call::Connect, Fault::Wait(Arc::new(Semaphore::new(0))));
    let mut signal = world.engine.event_signal();
    {
        let caller = nobody();
        let start = world.engine.exec_background(&caller, &sandbox.id, shell("sleep 600"));
        tokio::pin!(start);
        let is_noted = async {
            while !world.kinds(&sandbox).await.contains(&EventKind::ExecStarted) {
                signal.changed().await.unwrap();
            }
        };
        tokio::select! {
            answer = &mut start => panic!("there is no connection yet: {answer:?}"),
            () = is_noted => {}
        }
    }
    world.crash().await.unwrap();
    let rows = world.store.execs(&sandbox.id, 10).await.unwrap();
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    let end = end(&world, &sandbox, &row.id).await;
    assert!(
        matches!(end.outcome, Outcome::StartFailed(StartFailure::Other, _)),
        "{:?}",
        end.outcome
    );
    assert!(agent(&world, &sandbox).await.execs().await.unwrap().is_empty());
    assert_eq!(told(&world, &row.id).await, [EventKind::ExecStarted, EventKind::ExecFailed]);
}

#[tokio::test]
async fn programs_of_a_sandbox_that_is_destroyed_are_lost_once() {
    for is_crashed in [false, true] {
        let (mut world, sandbox) = world().await;
        let ids = [
            start(&world, &sandbox, "sleep 600").await,
            start(&world, &sandbox, "echo a; sleep 600").await,
        ];
        if is_crashed {
            world.engine.abandon();
            world.memory.vanish(&sandbox.name());
            world.crash().await.unwrap();
        } else {
            world.engine.delete(&nobody(), &sandbox.id, true).await.unwrap();
        }
        for id in &ids {
            assert_eq!(end(&world, &sandbox, id).await.outcome, Outcome::SandboxLost);
        }
        world.engine.reconcile().await.unwrap();
        world.crash().await.unwrap();
        for id in &ids {
            let kinds = told(&world, id).await;
            assert_eq!(kinds, [EventKind::ExecStarted, EventKind::ExecFailed]);
        }
        assert!(world.store.open_execs().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn readers_see_all_the_same_bytes_across_lost_connections() {
    let (world, sandbox) = world().await;
    let line = (0..20).map(|n| format!("echo {n}; sleep 0.005")).collect::<Vec<_>>().join("; ");
    let id = start(&world, &sandbox, &format!("flood 300000; {line}")).await;
    let cutting = async {
        let mut signal =
            agent(&world, &sandbox).await.watch(&id, Offsets::default()).await.unwrap();
        loop {
            // A connection of the test's own is cut as well, and made again.
            match signal.next().await {
                Some(Ok(WatchEvent::Exit(_))) => break,
                Some(Ok(WatchEvent::Stdout { offset, bytes })) => {
                    let seen = offset + bytes.len() as u64;
                    world.memory.sever(&sandbox.name());
                    let from = Offsets { stdout: seen, stderr: 0 };
                    signal = agent(&world, &sandbox).await.watch(&id, from).await.unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
    };
    let reader = || read(&world, &sandbox, &id, true);
    let (one, other, ()) = tokio::join!(reader(), reader(), cutting);
    assert!(one.1 && other.1, "both are told of the end");
    assert_eq!(one.0, other.0);
    let lines = (0..20).map(|n| n.to_string()).collect::<Vec<_>>().join("\n") + "\n";
    assert_eq!(one.0.len(), 300_000 + lines.len());
    assert!(one.0.ends_with(lines.as_bytes()));
    assert_eq!(read(&world, &sandbox, &id, true).await, one, "also after the end");
}

#[tokio::test]
async fn a_reader_that_does_not_follow_stops_where_the_output_ends_now() {
    let (world, sandbox) = world().await;
    let id = start(&world, &sandbox, "echo one; sleep 600").await;
    let mut first = agent(&world, &sandbox).await.watch(&id, Offsets::default()).await.unwrap();
    first.next().await.unwrap().unwrap();
    assert_eq!(read(&world, &sandbox, &id, false).await, (b"one\n".to_vec(), false));
    world.engine.exec_kill(&nobody(), (&sandbox.id, &id)).await.unwrap();
    assert_eq!(read(&world, &sandbox, &id, false).await, (b"one\n".to_vec(), true));
}

#[tokio::test]
async fn one_key_starts_one_program_at_once_and_after_a_crash() {
    let (mut world, sandbox) = world().await;
    let new = NewExec { idempotency_key: Some(key("one")), ..shell("sleep 600") };
    let caller = nobody();
    let again = |world: &World| {
        let (engine, new, id) = (world.engine.clone(), new.clone(), sandbox.id.clone());
        let caller = caller.clone();
        async move { engine.exec_background(&caller, &id, new).await.unwrap().id }
    };
    let (one, other) = tokio::join!(again(&world), again(&world));
    assert_eq!(one, other);
    world.crash().await.unwrap();
    assert_eq!(again(&world).await, one);
    assert_eq!(world.store.execs(&sandbox.id, 10).await.unwrap().len(), 1);
    assert_eq!(agent(&world, &sandbox).await.execs().await.unwrap().len(), 1);
    assert_eq!(told(&world, &one).await, [EventKind::ExecStarted]);
    let new = NewExec { idempotency_key: Some(key("another")), ..shell("true") };
    let failure = world.engine.exec_background(&nobody(), &sandbox.id, new).await.unwrap_err();
    assert_eq!(failure.reason, Reason::IdempotencyKeyReused);
}

#[tokio::test]
async fn one_key_makes_one_sandbox_at_once_and_after_a_crash() {
    let mut world = World::new(options()).await;
    let new = || NewSandbox { idempotency_key: Some(key("one")), ..NewSandbox::default() };
    let caller = nobody();
    let create = || world.engine.create(&caller, new());
    let (one, other) = tokio::join!(create(), create());
    let one = one.unwrap();
    assert_eq!(one, other.unwrap());
    world.crash().await.unwrap();
    assert_eq!(world.engine.create(&nobody(), new()).await.unwrap(), one);
    assert_eq!(world.memory.names(), [one.name()]);
}

#[tokio::test]
async fn a_create_that_failed_under_a_key_answers_the_same_failure() {
    let mut world = World::new(options()).await;
    let image = Some("missing".to_owned());
    let new = || NewSandbox {
        idempotency_key: Some(key("one")),
        image: image.clone(),
        ..NewSandbox::default()
    };
    let first = world.engine.create(&nobody(), new()).await.unwrap_err();
    assert_eq!(first.reason, Reason::ImageNotFound);
    let again = world.engine.create(&nobody(), new()).await.unwrap_err();
    world.crash().await.unwrap();
    let later = world.engine.create(&nobody(), new()).await.unwrap_err();
    for failure in [again, later] {
        assert_eq!((failure.reason, &failure.message), (first.reason, &first.message));
        assert_eq!((&failure.details, failure.way_out()), (&first.details, first.way_out()));
    }
    assert!(world.memory.names().is_empty());
}
