//! A provider that fails, hangs and lies: by script for one test, by seed for the simulation.
//! What it does not do is keep a runtime that it was truly asked to destroy from being destroyed.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use model::{Failure, Reason, SandboxId, SandboxName, Stats};
use provider::{
    Capability, Guest, MemoryProvider, Provider, RuntimeEntry, RuntimeHandle, RuntimeSpec,
    RuntimeStatus,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A method of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Create,
    Destroy,
    Inspect,
    List,
    Connect,
}

/// What goes wrong with a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It fails and has done nothing.
    Before,
    /// It fails and has done everything.
    After,
    /// It does nothing and never answers.
    Hang,
    /// It does everything and never answers.
    HangAfter,
    /// It never answers, and does everything once nobody waits any more. Only for a create.
    Late,
    /// It answers what is not so.
    Lie,
    /// It waits for a permit, then does what it should.
    Wait(Arc<Semaphore>),
}

/// In how many calls of a hundred something goes wrong while faults are on.
const FAULTS_PERCENT: u32 = 15;

/// The provider.
pub struct Chaos {
    inner: MemoryProvider,
    rng: Mutex<StdRng>,
    on: AtomicBool,
    script: Mutex<VecDeque<(Call, Fault)>>,
    late: Mutex<JoinSet<()>>,
    slandered: Mutex<BTreeSet<SandboxId>>,
}

fn refused() -> Failure {
    Failure::new(Reason::ProviderUnavailable, "the provider is out of order")
}

impl Chaos {
    /// A provider without faults, until they are switched on or scripted.
    pub fn new(inner: MemoryProvider, seed: u64) -> Self {
        Self {
            inner,
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            on: AtomicBool::new(false),
            script: Mutex::default(),
            late: Mutex::default(),
            slandered: Mutex::default(),
        }
    }

    /// Switches the seeded faults on or off.
    pub fn faults(&self, on: bool) {
        self.on.store(on, Ordering::SeqCst);
    }

    /// The next call of this kind goes wrong.
    pub fn next(&self, call: Call, fault: Fault) {
        self.script.lock().unwrap().push_back((call, fault));
    }

    /// Waits until every scripted fault has met its call.
    pub async fn scripted(&self) {
        while !self.script.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    /// Sandboxes about which it has lied, so that nobody can know what becomes of them.
    pub fn slandered(&self) -> BTreeSet<SandboxId> {
        self.slandered.lock().unwrap().clone()
    }

    fn slander(&self, name: &SandboxName) {
        self.slandered.lock().unwrap().insert(name.id.clone());
    }

    /// Waits for everything that a call left behind to happen.
    pub async fn settled(&self) {
        let mut late = std::mem::take(&mut *self.late.lock().unwrap());
        while late.join_next().await.is_some() {}
    }

    fn fault(&self, call: Call) -> Option<Fault> {
        let mut script = self.script.lock().unwrap();
        if let Some(index) = script.iter().position(|(of, _)| *of == call) {
            return script.remove(index).map(|(_, fault)| fault);
        }
        let mut rng = self.rng.lock().unwrap();
        if !self.on.load(Ordering::SeqCst) || rng.random_range(0..100) >= FAULTS_PERCENT {
            return None;
        }
        let effects = [
            Fault::Before,
            Fault::After,
            Fault::Hang,
            Fault::HangAfter,
            if call == Call::Create { Fault::Late } else { Fault::Lie },
        ];
        let questions = [Fault::Before, Fault::Lie];
        Some(match call {
            Call::Create | Call::Destroy => effects[rng.random_range(0..effects.len())].clone(),
            Call::Inspect | Call::List | Call::Connect => {
                questions[rng.random_range(0..questions.len())].clone()
            }
        })
    }
}

/// Does `effect` as far as the fault lets it.
async fn perform<T>(
    fault: Option<Fault>,
    effect: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match fault {
        None | Some(Fault::Late | Fault::Lie) => effect.await,
        Some(Fault::Before) => Err(refused()),
        Some(Fault::After) => {
            effect.await?;
            Err(refused())
        }
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::HangAfter) => {
            effect.await?;
            std::future::pending().await
        }
        Some(Fault::Wait(permits)) => {
            permits.acquire().await.expect("a test never closes it").forget();
            effect.await
        }
    }
}

#[async_trait]
impl Provider for Chaos {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> &[Capability] {
        self.inner.capabilities()
    }

    async fn probe(&self) -> Result<(), Failure> {
        self.inner.probe().await
    }

    async fn create(
        &self,
        name: &SandboxName,
        spec: &RuntimeSpec,
    ) -> Result<RuntimeHandle, Failure> {
        let fault = self.fault(Call::Create);
        if let Some(Fault::Late) = fault {
            let (inner, name, spec) = (self.inner.clone(), name.clone(), spec.clone());
            self.late.lock().unwrap().spawn(async move {
                // Longer than any deadline of the tests, so the effect comes after the failure.
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                inner.create(&name, &spec).await.expect("memory never fails");
            });
            return std::future::pending().await;
        }
        perform(fault, self.inner.create(name, spec)).await
    }

    async fn inspect(&self, name: &SandboxName) -> Result<RuntimeStatus, Failure> {
        match self.fault(Call::Inspect) {
            None => self.inner.inspect(name).await,
            Some(Fault::Lie) => {
                self.slander(name);
                Ok(match self.inner.inspect(name).await? {
                    RuntimeStatus::Running => RuntimeStatus::Absent,
                    RuntimeStatus::Broken | RuntimeStatus::Absent => RuntimeStatus::Running,
                })
            }
            Some(_) => Err(refused()),
        }
    }

    async fn list(&self) -> Result<Vec<RuntimeEntry>, Failure> {
        let mut entries = match self.fault(Call::List) {
            None => return self.inner.list().await,
            Some(Fault::Lie) => self.inner.list().await?,
            Some(_) => return Err(refused()),
        };
        entries.pop();
        let id = SandboxId::random(&mut *self.rng.lock().unwrap());
        let name = SandboxName { id, incarnation: 7 };
        entries.push(RuntimeEntry { name, status: RuntimeStatus::Broken });
        Ok(entries)
    }

    async fn destroy(&self, name: &SandboxName) -> Result<(), Failure> {
        match self.fault(Call::Destroy) {
            Some(Fault::Lie) => Ok(()),
            fault => perform(fault, self.inner.destroy(name)).await,
        }
    }

    async fn connect(
        &self,
        name: &SandboxName,
        handle: &RuntimeHandle,
    ) -> Result<Arc<dyn Guest>, Failure> {
        match self.fault(Call::Connect) {
            Some(Fault::Lie) => Err(refused()),
            fault => perform(fault, self.inner.connect(name, handle)).await,
        }
    }

    async fn usage(&self, name: &SandboxName) -> Result<Stats, Failure> {
        self.inner.usage(name).await
    }
}
