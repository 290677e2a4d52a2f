//! What an engine finds when it starts, and what it does about a store or a runtime that is lost.

use std::sync::Arc;

use engine::{Caller, ListFilter, NewSandbox};
use model::{EndReason, EventKind, Phase, Reason};
use provider::{Provider, RuntimeSpec};
use tokio::sync::Semaphore;

use crate::chaos::{Call, Fault};
use crate::support::{World, options, shell};

fn nobody() -> Caller {
    Caller::default()
}

#[tokio::test]
async fn a_running_sandbox_survives_a_crash() {
    let mut world = World::new(options()).await;
    let sandbox = world.create().await.unwrap();
    world.crash().await.unwrap();
    assert_eq!(world.engine.get(&nobody(), &sandbox.id).await.unwrap(), sandbox);
    let result = world.engine.exec_collect(&nobody(), &sandbox.id, shell("echo hi")).await.unwrap();
    assert_eq!(result.stdout.bytes(), b"hi\n");
}

#[tokio::test]
async fn a_create_that_a_crash_cut_off_is_an_error_without_a_runtime() {
    let mut world = World::new(options()).await;
    // The runtime is there, and the engine never hears of it.
    world.chaos.next(Call::Create, Fault::HangAfter);
    let mut signal = world.engine.event_signal();
    {
        let create = world.create();
        tokio::pin!(create);
        tokio::select! {
            _ = &mut create => panic!("the provider has not answered"),
            _ = signal.wait_for(|seq| *seq >= 1) => {}
        }
    }
    world.crash().await.unwrap();
    let rows = world.engine.list(&nobody(), ListFilter::default()).await.unwrap();
    assert_eq!(rows[0].phase, Phase::Gone(EndReason::Failed));
    let (reason, message) = rows[0].failure.clone().unwrap();
    assert_eq!(reason, Reason::CreateFailed);
    assert!(message.contains("interrupted by"), "{message}");
    assert!(world.memory.names().is_empty());
}

#[tokio::test]
async fn a_delete_that_a_crash_cut_off_is_finished() {
    let mut world = World::new(options()).await;
    let sandbox = world.create().await.unwrap();
    world.chaos.next(Call::Destroy, Fault::Wait(Arc::new(Semaphore::new(0))));
    world.engine.delete(&nobody(), &sandbox.id, false).await.unwrap();
    world.chaos.scripted().await;
    world.crash().await.unwrap();
    assert!(world.memory.names().is_empty());
    let row = world.store.get(&sandbox.id).await.unwrap().unwrap();
    assert_eq!(row.phase, Phase::Gone(EndReason::Requested));
}

#[tokio::test]
async fn a_runtime_without_a_row_or_of_another_incarnation_is_removed() {
    let mut world = World::new(options()).await;
    let sandbox = world.create().await.unwrap();
    let spec = RuntimeSpec { image: "host".into(), resources: sandbox.resources, execs_max: 100 };
    let mut old = sandbox.name();
    old.incarnation = 2;
    let mut stranger = sandbox.name();
    stranger.id = model::SandboxId::random(&mut rand::rng());
    for name in [&old, &stranger] {
        world.memory.create(name, &spec).await.unwrap();
    }
    world.crash().await.unwrap();
    assert_eq!(world.memory.names(), [sandbox.name()]);
    let events = world.store.events_after(0, 100).await.unwrap();
    let actions = events.iter().filter(|event| event.kind == EventKind::ReconcileAction);
    assert_eq!(actions.count(), 2);
}

#[tokio::test]
async fn a_runtime_that_vanished_ends_its_sandbox() {
    let world = World::new(options()).await;
    let sandbox = world.create().await.unwrap();
    world.memory.vanish(&sandbox.name());
    world.engine.reconcile().await.unwrap();
    let row = world.store.get(&sandbox.id).await.unwrap().unwrap();
    assert_eq!(row.phase, Phase::Gone(EndReason::Vanished));
}

#[tokio::test]
async fn a_sandbox_whose_agent_died_is_removed() {
    let world = World::new(options()).await;
    let sandbox = world.create().await.unwrap();
    world.memory.break_agent(&sandbox.name());
    world.engine.reconcile().await.unwrap();
    let row = world.store.get(&sandbox.id).await.unwrap().unwrap();
    assert_eq!(row.phase, Phase::Gone(EndReason::Vanished));
    assert!(world.memory.names().is_empty());
}

#[tokio::test]
async fn a_sandbox_whose_provider_is_silent_is_unhealthy_until_it_is_seen_again() {
    let world = World::new(options()).await;
    let sandbox = world.create().await.unwrap();
    world.chaos.next(Call::Inspect, Fault::Before);
    world.engine.reconcile().await.unwrap();
    let row = world.engine.get(&nobody(), &sandbox.id).await.unwrap();
    assert_eq!(row.phase.wire_state(), "unhealthy");
    // Work for it makes the engine look again at once.
    world.engine.exec_collect(&nobody(), &sandbox.id, shell("true")).await.unwrap();
    let row = world.engine.get(&nobody(), &sandbox.id).await.unwrap();
    assert_eq!(row.phase, Phase::Running);
}

#[tokio::test]
async fn an_unlisted_runtime_is_not_taken_for_a_lost_one() {
    let world = World::new(options()).await;
    let sandbox = world.create().await.unwrap();
    world.chaos.next(Call::List, Fault::Lie);
    world.engine.reconcile().await.unwrap();
    let row = world.engine.get(&nobody(), &sandbox.id).await.unwrap();
    assert_eq!(row.phase, Phase::Running);
    assert_eq!(world.memory.names(), [sandbox.name()]);
}

#[tokio::test]
async fn a_store_that_fails_during_a_create_leaves_no_runtime() {
    let world = World::new(options()).await;
    let permits = Arc::new(Semaphore::new(0));
    world.chaos.next(Call::Create, Fault::Wait(permits.clone()));
    let mut signal = world.engine.event_signal();
    let create = world.create();
    tokio::pin!(create);
    tokio::select! {
        _ = &mut create => panic!("the provider has not answered"),
        _ = signal.wait_for(|seq| *seq >= 1) => {}
    }
    world.store.close().await;
    permits.add_permits(1);
    assert_eq!(create.await.unwrap_err().reason, Reason::StoreUnavailable);
    assert!(world.memory.names().is_empty());
    let failure = world.engine.create(&nobody(), NewSandbox::default()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::StoreUnavailable);
    assert_eq!(world.engine.ready().await.unwrap_err().reason, Reason::StoreUnavailable);
}
