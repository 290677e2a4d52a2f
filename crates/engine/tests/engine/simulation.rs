//! Everything at once: callers, crashes, a provider that fails, hangs and lies, and time that
//! jumps. When the faults stop, rows and runtimes have to agree again.
//!
//! `STACYVM_SIM_SEEDS` is how many seeds are tried, `STACYVM_SIM_SEED` the one that is tried
//! alone. A failure names its seed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use engine::{Caller, EngineOptions, NewSandbox};
use futures::future::{BoxFuture, FutureExt, join_all};
use model::{
    Clock, EndReason, EventKind, ExecRecord, Outcome, Phase, Reason, Sandbox, SandboxId,
    SandboxName,
};
use provider::{Provider, RuntimeHandle};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use store::{Shown, Store};

use crate::support::{World, options, shell};

/// How many seeds are tried unless the environment says so.
const SEEDS: u64 = 100;

/// Steps of one seed; in each, several callers act at the same time.
const STEPS: usize = 12;

/// At most this many sandboxes, so that the limit is met.
const LIMIT: u32 = 4;

/// Rounds of reconciling after which all has to be well. One finds what is wrong, one finds what
/// the first has uncovered, and the others are for retries that were not due.
const ROUNDS: usize = 4;

/// How long nothing may happen while a program's end is to be written down: more than it takes to
/// give up a connection.
const PATIENCE: Duration = Duration::from_secs(10);

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number of seeds"))
}

#[test]
fn whatever_goes_wrong_rows_and_runtimes_agree_when_it_stops() {
    let seeds: Vec<u64> = match from_environment("STACYVM_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (0..from_environment("STACYVM_SIM_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let seeds = seeds.iter().skip(worker).step_by(workers);
            scope.spawn(move || seeds.for_each(|seed| run(*seed)));
        }
    });
}

fn run(seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stacyvm.db");
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.block_on(async {
            let store = Store::open(&path).await.unwrap();
            Simulation::new(store, seed).await.run().await;
        });
    }));
    // What failed has been said by then.
    assert!(told.is_ok(), "again with: STACYVM_SIM_SEED={seed}");
}

struct Simulation {
    world: World,
    rng: StdRng,
    /// Sandboxes that a delete said are gone.
    deleted: BTreeSet<SandboxId>,
    /// Sandboxes that a create said are running.
    created: BTreeSet<SandboxId>,
    /// Sandboxes that somebody tried to end, or whose runtime was harmed.
    doomed: Mutex<BTreeSet<SandboxId>>,
}

/// What one caller learned.
enum Learned {
    Nothing,
    Created(SandboxId),
    Deleted(SandboxId),
}

impl Simulation {
    async fn new(store: Store, seed: u64) -> Self {
        let options = EngineOptions {
            max_sandboxes: LIMIT,
            create_timeout: Duration::from_millis(5),
            destroy_timeout: Duration::from_millis(5),
            retention: Duration::from_hours(10_000),
            ..options()
        };
        let world = World::on(store, options, seed).await;
        Self {
            world,
            rng: StdRng::seed_from_u64(seed ^ 0x5eed),
            deleted: BTreeSet::new(),
            created: BTreeSet::new(),
            doomed: Mutex::default(),
        }
    }

    async fn run(mut self) {
        self.world.chaos.faults(true);
        for _ in 0..STEPS {
            self.step().await;
            self.never().await;
        }
        self.world.chaos.faults(false);
        self.world.chaos.settled().await;
        self.world.crash().await.unwrap();
        for round in 0..ROUNDS {
            self.world.clock.advance(Duration::from_mins(2));
            self.world.engine.prune(&Caller::default()).await.unwrap();
            self.world.engine.reconcile().await.unwrap();
            if self.disagreement().await.is_none() {
                break;
            }
            assert!(round + 1 < ROUNDS, "{}", self.disagreement().await.unwrap_or_default());
        }
        self.never().await;
        self.kept().await;
        self.history().await;
        self.open_programs().await;
        self.programs().await;
        self.world.engine.shutdown().await;
    }

    /// Several callers at once, and sometimes a crash in the middle of it.
    async fn step(&mut self) {
        let rows = self.world.store.list(Shown::All).await.unwrap();
        let callers = self.rng.random_range(1..=4);
        let draws: Vec<(u32, u32)> =
            (0..callers).map(|_| (self.rng.random(), self.rng.random())).collect();
        let crash = self.rng.random_range(0..100) < 20;
        let moment = Duration::from_micros(self.rng.random_range(0..4000));
        let all = join_all(draws.into_iter().map(|draw| self.call(&rows, draw)));
        let learned = if crash {
            // The callers are cut off with the engine.
            tokio::time::timeout(moment, all).await.unwrap_or_default()
        } else {
            all.await
        };
        for learned in learned {
            match learned {
                Learned::Nothing => {}
                Learned::Created(id) => {
                    self.created.insert(id);
                }
                Learned::Deleted(id) => {
                    self.deleted.insert(id);
                }
            }
        }
        if crash {
            self.world.crash().await.unwrap();
        }
    }

    fn doom(&self, id: &SandboxId) {
        self.doomed.lock().unwrap().insert(id.clone());
    }

    /// What one caller does.
    fn call(&self, rows: &[Sandbox], (kind, choice): (u32, u32)) -> BoxFuture<'_, Learned> {
        let row = rows.get(choice as usize % rows.len().max(1)).cloned();
        let (world, caller) = (&self.world, Caller::default());
        async move {
            let engine = &world.engine;
            let ttl = Duration::from_mins(u64::from(choice % 60) + 1);
            match (kind % 100, row) {
                (0..30, _) | (_, None) => {
                    let new = NewSandbox { ttl: Some(ttl), ..NewSandbox::default() };
                    // Any failure is right while everything fails; what it leaves is looked at
                    // later.
                    if let Ok(row) = engine.create(&caller, new).await {
                        return Learned::Created(row.id);
                    }
                }
                (30..50, Some(row)) => {
                    self.doom(&row.id);
                    let wait = choice % 3 > 0;
                    if engine.delete(&caller, &row.id, wait).await.is_ok() && wait {
                        return Learned::Deleted(row.id);
                    }
                }
                (50..60, Some(row)) => drop(engine.extend(&caller, &row.id, ttl).await),
                (60..68, Some(row)) => exec(world, &row).await,
                (68..75, Some(row)) => {
                    let line = if choice % 2 == 0 { "true" } else { "sleep 600" };
                    // Any failure is right while everything fails; what it leaves is looked at
                    // later.
                    drop(engine.exec_background(&caller, &row.id, shell(line)).await);
                }
                (75..83, Some(_)) => {
                    world.clock.advance(ttl / 4);
                    drop(engine.reap().await);
                }
                (83..90, Some(_)) => drop(engine.reconcile().await),
                (90..94, Some(row)) => {
                    self.doom(&row.id);
                    world.memory.vanish(&row.name());
                }
                (94..97, Some(row)) => {
                    self.doom(&row.id);
                    world.memory.break_agent(&row.name());
                }
                (_, Some(row)) => world.memory.sever(&row.name()),
            }
            Learned::Nothing
        }
        .boxed()
    }

    /// What must not be so at any time.
    async fn never(&self) {
        let active = self.world.store.count_active(None).await.unwrap();
        assert!(active.total <= LIMIT, "{} sandboxes, {LIMIT} allowed", active.total);
        for id in &self.deleted {
            let row = self.world.store.get(id).await.unwrap().expect("rows are kept");
            assert!(row.phase.is_terminal(), "{id} was deleted and is {:?}", row.phase);
        }
    }

    /// A sandbox whose caller was told that it runs goes on until its time is over, somebody
    /// ends it, or its runtime is harmed.
    async fn kept(&self) {
        let doomed = self.doomed.lock().unwrap().clone();
        let slandered = self.world.chaos.slandered();
        for id in self.created.difference(&doomed).filter(|id| !slandered.contains(id)) {
            let row = self.world.store.get(id).await.unwrap().expect("rows are kept");
            let over = row.phase.end_reason() == Some(EndReason::Expired);
            assert!(row.phase == Phase::Running || over, "{id} is {:?} for no reason", row.phase);
        }
    }

    /// Every program that may outlive its caller has an end, or it runs.
    async fn open_programs(&self) {
        let mut signal = self.world.engine.event_signal();
        self.world.engine.reconcile().await.unwrap();
        // Followers learn of an end a moment after it.
        while let Some(strays) = self.strays().await {
            let told = tokio::time::timeout(PATIENCE, signal.changed()).await;
            assert!(told.is_ok_and(|told| told.is_ok()), "neither ended nor running: {strays:?}");
        }
    }

    /// Programs without an end that do not run.
    async fn strays(&self) -> Option<Vec<ExecRecord>> {
        let mut strays = Vec::new();
        for record in self.world.store.open_execs().await.unwrap() {
            let row = self.world.store.get(&record.sandbox).await.unwrap().expect("rows are kept");
            let runs = match (row.phase, &row.handle) {
                (Phase::Running, Some(handle)) => {
                    let handle = RuntimeHandle(handle.clone());
                    let agent = self.world.memory.connect(&row.name(), &handle).await.unwrap();
                    let execs = agent.execs().await.unwrap();
                    execs.iter().any(|exec| exec.id == record.id && exec.exit.is_none())
                }
                _ => false,
            };
            if !runs {
                strays.push(record);
            }
        }
        (!strays.is_empty()).then_some(strays)
    }

    /// No program ends twice, or without having started; audit records have no gaps.
    async fn programs(&self) {
        let events = self.world.store.events_after(0, u32::MAX).await.unwrap();
        let mut ends: HashMap<String, u32> = HashMap::new();
        for event in events {
            let Some(exec) = event.data.get("exec_id") else { continue };
            if event.kind == EventKind::ExecStarted {
                assert_eq!(ends.insert(exec.clone(), 0), None, "{exec} started twice");
            } else {
                let end = ends.get_mut(exec).expect("it has started");
                *end += 1;
                assert_eq!(*end, 1, "{exec} ended twice");
            }
        }
        let audit = self.world.store.audit_after(0, u32::MAX).await.unwrap();
        assert!(audit.iter().zip(1..).all(|(row, seq)| row.seq == seq));
    }

    /// What must not be so once everything works and has had its time.
    async fn disagreement(&self) -> Option<String> {
        let rows = self.world.store.list(Shown::All).await.unwrap();
        let now = self.world.clock.now();
        for row in rows.iter().filter(|row| !row.phase.is_terminal()) {
            if row.phase != Phase::Running || row.expires_at <= now {
                return Some(format!("{} is {:?}, expires {}", row.id, row.phase, row.expires_at));
            }
        }
        let running = rows.iter().filter(|row| row.phase == Phase::Running);
        let rows: BTreeSet<SandboxName> = running.map(Sandbox::name).collect();
        let runtimes: BTreeSet<SandboxName> = self.world.memory.names().into_iter().collect();
        (rows != runtimes).then(|| format!("rows {rows:?}, runtimes {runtimes:?}"))
    }

    /// The events tell every row's life, in order and without gaps.
    async fn history(&self) {
        let events = self.world.store.events_after(0, u32::MAX).await.unwrap();
        let numbers: Vec<i64> = events.iter().map(|event| event.seq).collect();
        let expected: Vec<i64> = (1..=self.world.store.last_seq().await.unwrap()).collect();
        assert_eq!(numbers, expected);

        let mut lives: HashMap<SandboxId, Vec<EventKind>> = HashMap::new();
        for event in events {
            let of_life = event.kind.word().starts_with("sandbox.");
            if let Some(id) = event.sandbox.filter(|_| of_life) {
                lives.entry(id).or_default().push(event.kind);
            }
        }
        let rows = self.world.store.list(Shown::All).await.unwrap();
        assert_eq!(rows.len(), lives.len(), "a row was lost, or one has no event");
        for row in rows {
            let life = &lives[&row.id];
            let count = |kind| life.iter().filter(|of| **of == kind).count();
            assert_eq!(life[0], EventKind::SandboxCreated, "{life:?}");
            assert_eq!(count(EventKind::SandboxCreated), 1, "{life:?}");
            let gone = row.phase.is_terminal() && row.phase != Phase::Gone(EndReason::Failed);
            assert_eq!(count(EventKind::SandboxDestroyed), usize::from(gone), "{life:?}");
            let last = life.last().copied();
            match row.phase {
                Phase::Gone(EndReason::Failed) => assert_eq!(last, Some(EventKind::SandboxError)),
                Phase::Gone(_) => assert_eq!(last, Some(EventKind::SandboxDestroyed)),
                Phase::Pending
                | Phase::Starting
                | Phase::Running
                | Phase::Lost
                | Phase::Stopping(_) => {}
            }
        }
    }
}

/// A program's result is right, or there is none.
async fn exec(world: &World, row: &Sandbox) {
    let caller = Caller::default();
    match world.engine.exec_collect(&caller, &row.id, shell("echo hi")).await {
        Ok(result) if result.outcome == Outcome::SandboxLost => {}
        Ok(result) => {
            assert_eq!(result.outcome, Outcome::Exited(0));
            assert_eq!(result.stdout.bytes(), b"hi\n");
        }
        Err(failure) => assert!(
            matches!(
                failure.reason,
                Reason::SandboxNotFound
                    | Reason::SandboxGone
                    | Reason::SandboxNotRunning
                    | Reason::SandboxUnreachable
                    | Reason::ProviderUnavailable
                    | Reason::ShuttingDown
            ),
            "{failure:?}"
        ),
    }
}
