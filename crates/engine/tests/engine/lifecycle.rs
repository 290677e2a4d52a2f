//! Making, listing, extending and ending sandboxes.

use std::sync::Arc;
use std::time::Duration;

use engine::{Caller, EngineOptions, ListFilter, NewSandbox};
use model::{Clock, EndReason, EventKind, Phase, Reason, SandboxId};
use tokio::sync::Semaphore;

use crate::chaos::{Call, Fault};
use crate::support::{World, options, shell};

fn nobody() -> Caller {
    Caller::default()
}

#[tokio::test]
async fn a_sandbox_runs_is_listed_and_is_gone_after_its_delete() {
    let world = World::new(options()).await;
    let sandbox = world.create().await.unwrap();
    assert_eq!(sandbox.phase, Phase::Running);
    let listed = world.engine.list(&nobody(), ListFilter::default()).await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&sandbox));

    let gone = world.engine.delete(&nobody(), &sandbox.id, true).await.unwrap();
    assert_eq!(gone.phase, Phase::Gone(EndReason::Requested));
    assert!(world.memory.names().is_empty());
    let failure = world.engine.get(&nobody(), &sandbox.id).await.unwrap_err();
    assert_eq!(failure.message, format!("sandbox destroyed: {}", sandbox.id));
    let again = world.engine.delete(&nobody(), &sandbox.id, true).await.unwrap();
    assert_eq!(again.version, gone.version);
    assert_eq!(
        world.kinds(&sandbox).await,
        [
            EventKind::SandboxCreated,
            EventKind::SandboxRunning,
            EventKind::SandboxDestroying,
            EventKind::SandboxDestroyed,
        ]
    );
}

#[tokio::test]
async fn an_unknown_sandbox_is_not_found() {
    let world = World::new(options()).await;
    let id = SandboxId::random(&mut rand::rng());
    for failure in [
        world.engine.get(&nobody(), &id).await.unwrap_err(),
        world.engine.delete(&nobody(), &id, true).await.unwrap_err(),
        world.engine.exec_collect(&nobody(), &id, shell("true")).await.unwrap_err(),
    ] {
        assert_eq!(failure.reason, Reason::SandboxNotFound);
        assert_eq!(failure.message, format!("sandbox not found: {id}"));
    }
}

#[tokio::test]
async fn a_failed_create_leaves_a_row_that_says_why_and_nothing_else() {
    for fault in [Fault::Before, Fault::After, Fault::Hang, Fault::HangAfter] {
        let world = World::new(options()).await;
        world.chaos.next(Call::Create, fault);
        let failure = world.create().await.unwrap_err();
        assert_eq!(failure.reason, Reason::ProviderUnavailable);
        assert!(world.memory.names().is_empty());

        let rows = world.engine.list(&nobody(), ListFilter::default()).await.unwrap();
        assert_eq!(rows[0].phase.wire_state(), "error");
        assert_eq!(rows[0].failure, Some((failure.reason, failure.message)));
        let dismissed = world.engine.delete(&nobody(), &rows[0].id, true).await.unwrap();
        assert_eq!(dismissed.phase.wire_state(), "destroyed");
        let rows = world.engine.list(&nobody(), ListFilter::default()).await.unwrap();
        assert!(rows.is_empty());
    }
}

#[tokio::test]
async fn an_image_that_is_not_there_is_the_callers_to_mend() {
    let world = World::new(options()).await;
    let new = NewSandbox { image: Some("missing".into()), ..NewSandbox::default() };
    let failure = world.engine.create(&nobody(), new).await.unwrap_err();
    assert_eq!(failure.reason, Reason::ImageNotFound);
}

#[tokio::test]
async fn a_delete_during_the_create_wins_and_leaves_nothing() {
    let world = World::new(options()).await;
    let permits = Arc::new(Semaphore::new(0));
    world.chaos.next(Call::Create, Fault::Wait(permits.clone()));
    let engine = world.engine.clone();
    let create = tokio::spawn(async move { engine.create(&nobody(), NewSandbox::default()).await });
    let mut signal = world.engine.event_signal();
    signal.wait_for(|seq| *seq >= 1).await.unwrap();
    let rows = world.engine.list(&nobody(), ListFilter::default()).await.unwrap();
    let stopping = world.engine.delete(&nobody(), &rows[0].id, false).await.unwrap();
    assert_eq!(stopping.phase, Phase::Stopping(EndReason::Requested));
    permits.add_permits(1);
    let gone = world.engine.delete(&nobody(), &rows[0].id, true).await.unwrap();
    assert_eq!(gone.phase, Phase::Gone(EndReason::Requested));
    assert!(create.await.unwrap().is_err());
    assert!(world.memory.names().is_empty());
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_stop_its_create() {
    let world = World::new(options()).await;
    let permits = Arc::new(Semaphore::new(0));
    world.chaos.next(Call::Create, Fault::Wait(permits.clone()));
    let mut signal = world.engine.event_signal();
    {
        let create = world.create();
        tokio::pin!(create);
        tokio::select! {
            _ = &mut create => panic!("the provider has not answered"),
            _ = signal.wait_for(|seq| *seq >= 1) => {}
        }
    }
    permits.add_permits(1);
    signal.wait_for(|seq| *seq >= 2).await.unwrap();
    let rows = world.engine.list(&nobody(), ListFilter::default()).await.unwrap();
    assert_eq!(rows[0].phase, Phase::Running);
}

#[tokio::test]
async fn two_deletes_at_once_both_succeed() {
    let world = World::new(options()).await;
    let sandbox = world.create().await.unwrap();
    let caller = nobody();
    let (one, two) = tokio::join!(
        world.engine.delete(&caller, &sandbox.id, true),
        world.engine.delete(&caller, &sandbox.id, true)
    );
    assert!(one.unwrap().phase.is_terminal() && two.unwrap().phase.is_terminal());
}

#[tokio::test]
async fn a_destroy_is_believed_only_when_nothing_is_left() {
    let world = World::new(options()).await;
    let sandbox = world.create().await.unwrap();
    world.chaos.next(Call::Destroy, Fault::Lie);
    let failure = world.engine.delete(&nobody(), &sandbox.id, true).await.unwrap_err();
    assert_eq!(failure.reason, Reason::ProviderUnavailable);
    let row = world.engine.get(&nobody(), &sandbox.id).await.unwrap();
    assert_eq!(row.phase.wire_state(), "destroying");
    let gone = world.engine.delete(&nobody(), &sandbox.id, true).await.unwrap();
    assert!(gone.phase.is_terminal());
}

#[tokio::test]
async fn an_expired_sandbox_ends_and_is_retried_until_it_is_gone() {
    let world = World::new(options()).await;
    let sandbox = world.create().await.unwrap();
    assert_eq!(world.engine.reap().await.unwrap(), Some(sandbox.expires_at));
    world.clock.advance(Duration::from_mins(31));
    world.chaos.next(Call::Destroy, Fault::Before);
    let mut signal = world.engine.event_signal();
    assert_eq!(world.engine.prune(&nobody()).await.unwrap(), 0);
    let row = world.engine.get(&nobody(), &sandbox.id).await.unwrap();
    assert_eq!(row.phase.wire_state(), "expired");

    let retry = world.engine.reap().await.unwrap().expect("a retry is due");
    world.clock.advance(retry.since(world.clock.now()));
    world.engine.reap().await.unwrap();
    signal.wait_for(|seq| *seq >= 4).await.unwrap();
    assert!(world.memory.names().is_empty());
    assert_eq!(
        world.kinds(&sandbox).await[2..],
        [EventKind::SandboxExpired, EventKind::SandboxDestroyed]
    );
}

#[tokio::test]
async fn the_reaper_ends_a_sandbox_within_a_second_of_its_expiry() {
    let memory = provider::MemoryProvider::default();
    let engine = engine::Engine::start(
        options(),
        store::Store::open_in_memory().await.unwrap(),
        vec![Arc::new(memory.clone())],
        Arc::new(model::SystemClock),
    )
    .await
    .unwrap();
    let new = NewSandbox { ttl: Some(Duration::from_millis(50)), ..NewSandbox::default() };
    let sandbox = engine.create(&nobody(), new).await.unwrap();
    let mut signal = engine.event_signal();
    let gone = signal.wait_for(|seq| *seq >= 4);
    tokio::time::timeout(Duration::from_secs(1), gone).await.expect("in time").unwrap();
    assert!(engine.get(&nobody(), &sandbox.id).await.is_err());
    engine.shutdown().await;
}

#[tokio::test]
async fn an_extension_is_from_now_and_within_the_limit() {
    let world = World::new(options()).await;
    let sandbox = world.create().await.unwrap();
    world.clock.advance(Duration::from_mins(5));
    let hour = Duration::from_hours(1);
    let extended = world.engine.extend(&nobody(), &sandbox.id, hour).await.unwrap();
    assert_eq!(extended.expires_at, world.clock.now().after(hour));
    let failure = world.engine.extend(&nobody(), &sandbox.id, hour * 25).await.unwrap_err();
    assert_eq!(failure.reason, Reason::TtlTooLong);
    world.engine.delete(&nobody(), &sandbox.id, true).await.unwrap();
    let failure = world.engine.extend(&nobody(), &sandbox.id, hour).await.unwrap_err();
    assert_eq!(failure.reason, Reason::SandboxGone);
}

#[tokio::test]
async fn the_limits_hold_for_creates_at_the_same_time() {
    let limits = EngineOptions { max_sandboxes: 3, max_sandboxes_per_owner: 2, ..options() };
    let world = World::new(limits).await;
    let owner = Caller { owner: Some("alice".into()), request_id: None };
    let creates = (0..5).map(|_| world.engine.create(&owner, NewSandbox::default()));
    let created = futures::future::join_all(creates).await;
    assert_eq!(created.iter().filter(|created| created.is_ok()).count(), 2);
    world.create().await.unwrap();
    let failure = world.create().await.unwrap_err();
    assert_eq!(failure.reason, Reason::TooManySandboxes);
    assert_eq!(failure.message, "resource limit exceeded: max sandboxes reached (3)");
    let admission = world.engine.admission(&nobody(), &NewSandbox::default()).await.unwrap();
    assert_eq!((admission.allowed, admission.reason), (false, Some("max_sandboxes")));
}

#[tokio::test]
async fn lists_are_filtered_by_state_and_owner() {
    let world = World::new(options()).await;
    let alice = Caller { owner: Some("alice".into()), request_id: None };
    let kept = world.engine.create(&alice, NewSandbox::default()).await.unwrap();
    let other = world.create().await.unwrap();
    world.engine.delete(&nobody(), &other.id, true).await.unwrap();
    let list = async |state: Option<&str>, owner: Option<&str>| {
        let filter =
            ListFilter { state: state.map(str::to_owned), owner: owner.map(str::to_owned) };
        let rows = world.engine.list(&nobody(), filter).await.unwrap();
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(list(None, Some("alice")).await, std::slice::from_ref(&kept.id));
    assert!(list(None, Some("bob")).await.is_empty());
    assert_eq!(list(Some("running"), None).await, std::slice::from_ref(&kept.id));
    assert_eq!(list(Some("destroyed"), None).await, std::slice::from_ref(&other.id));
}

#[tokio::test]
async fn an_engine_that_shuts_down_takes_no_work_and_leaves_sandboxes_running() {
    let world = World::new(options()).await;
    let sandbox = world.create().await.unwrap();
    world.engine.shutdown().await;
    assert_eq!(world.create().await.unwrap_err().reason, Reason::ShuttingDown);
    assert_eq!(world.memory.names(), [sandbox.name()]);
}
