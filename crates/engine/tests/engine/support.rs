//! An engine on a provider that can be told to fail, with a clock that stands still.

use std::sync::Arc;
use std::time::Duration;

use engine::{Caller, Engine, EngineOptions, NewExec, NewSandbox};
use model::{Event, EventKind, ExecProgram, Failure, ManualClock, Sandbox, Timestamp};
use provider::{MemoryProvider, Provider};
use store::Store;

use crate::chaos::Chaos;

/// Everything that outlives a crash of the engine, and the engine.
pub struct World {
    pub memory: MemoryProvider,
    pub chaos: Arc<Chaos>,
    pub store: Store,
    pub clock: Arc<ManualClock>,
    pub options: EngineOptions,
    pub engine: Arc<Engine>,
}

/// Short deadlines, so that a provider that hangs does not make the tests hang.
pub fn options() -> EngineOptions {
    EngineOptions {
        default_provider: "memory".into(),
        create_timeout: Duration::from_millis(50),
        destroy_timeout: Duration::from_millis(50),
        ..EngineOptions::default()
    }
}

impl World {
    /// A world without loops: time and reconciling move when the test says so.
    pub async fn new(options: EngineOptions) -> Self {
        Self::on(Store::open_in_memory().await.unwrap(), options, 0).await
    }

    /// A world on `store`, whose provider's faults follow from `seed`.
    pub async fn on(store: Store, options: EngineOptions, seed: u64) -> Self {
        let memory = MemoryProvider::default();
        let chaos = Arc::new(Chaos::new(memory.clone(), seed));
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(1_000_000)));
        let engine = start(&options, &store, &chaos, &clock).await.unwrap();
        Self { memory, chaos, store, clock, options, engine }
    }

    /// Ends the engine as a crash would, and starts another in its place.
    pub async fn crash(&mut self) -> Result<(), Failure> {
        self.engine.abandon();
        self.engine = start(&self.options, &self.store, &self.chaos, &self.clock).await?;
        Ok(())
    }

    pub async fn create(&self) -> Result<Sandbox, Failure> {
        self.engine.create(&Caller::default(), NewSandbox::default()).await
    }

    /// The events so far of one sandbox.
    pub async fn kinds(&self, sandbox: &Sandbox) -> Vec<EventKind> {
        let of = |event: &Event| event.sandbox.as_ref() == Some(&sandbox.id);
        let events = self.store.events_after(0, 10_000).await.unwrap();
        events.iter().filter(|event| of(event)).map(|event| event.kind).collect()
    }
}

async fn start(
    options: &EngineOptions,
    store: &Store,
    chaos: &Arc<Chaos>,
    clock: &Arc<ManualClock>,
) -> Result<Arc<Engine>, Failure> {
    let providers: Vec<Arc<dyn Provider>> = vec![chaos.clone()];
    let options = options.clone();
    Engine::start_without_loops(options, store.clone(), providers, clock.clone()).await
}

/// A shell line to run.
pub fn shell(line: &str) -> NewExec {
    NewExec::new(ExecProgram::Shell(line.into()))
}
