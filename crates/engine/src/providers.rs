//! The providers that the engine was started with, each behind its deadlines, and what can be
//! said about them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use model::{Failure, Reason, Timestamp};
use provider::{Capability, DeadlineLayer, Deadlines, Provider};

use crate::options::EngineOptions;
use crate::plane::Plane;
use crate::refuse::provider_not_found;

/// A provider as people see it.
#[derive(Clone, Debug)]
pub struct ProviderReport {
    /// Its name.
    pub name: String,
    /// Whether it is used when a caller names none.
    pub default: bool,
    /// Whether a create could succeed now; else what is missing.
    pub healthy: Result<(), Failure>,
    /// How long it took to find out.
    pub latency: Duration,
    /// When that was.
    pub checked_at: Timestamp,
    /// What it can do.
    pub capabilities: Vec<&'static str>,
    /// Facts about its configuration.
    pub facts: Vec<(String, String)>,
    /// How many runtimes it has, if it can tell.
    pub runtime_count: Option<usize>,
    /// How many sandboxes of it are not over.
    pub sandbox_count: usize,
}

/// The providers by name.
pub(crate) struct Providers(BTreeMap<String, Arc<dyn Provider>>);

impl Providers {
    /// Puts deadlines on each. Two of one name, or none of the default's name, is a mistake.
    pub(crate) fn new(
        options: &EngineOptions,
        providers: Vec<Arc<dyn Provider>>,
    ) -> Result<Self, Failure> {
        let deadlines = Deadlines {
            create: options.create_timeout,
            destroy: options.destroy_timeout,
            ..Deadlines::default()
        };
        let mut by_name: BTreeMap<String, Arc<dyn Provider>> = BTreeMap::new();
        for provider in providers {
            let name = provider.name().to_owned();
            let layered = Arc::new(DeadlineLayer::new(provider, deadlines));
            if by_name.insert(name.clone(), layered).is_some() {
                let message = format!("two providers are called {name}");
                return Err(Failure::new(Reason::InvalidField, message));
            }
        }
        if !by_name.contains_key(&options.default_provider) {
            return Err(provider_not_found(&options.default_provider)
                .hint("configure a provider of that name, or another default provider"));
        }
        Ok(Self(by_name))
    }

    /// The provider of that name.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<dyn Provider>, Failure> {
        self.0.get(name).cloned().ok_or_else(|| provider_not_found(name))
    }

    /// Every provider, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Arc<dyn Provider>)> {
        self.0.iter()
    }

    /// Ends what the providers have running of their own.
    pub(crate) async fn close(&self) {
        join_all(self.0.values().map(|provider| provider.close())).await;
    }
}

impl Plane {
    pub(crate) async fn provider_reports(&self) -> Vec<ProviderReport> {
        join_all(self.providers.iter().map(|(_, provider)| self.report(provider))).await
    }

    pub(crate) async fn report(&self, provider: &Arc<dyn Provider>) -> ProviderReport {
        let started = Instant::now();
        let healthy = provider.probe().await;
        let latency = started.elapsed();
        let runtimes = provider.list().await.ok();
        let sandboxes = self.store.count_by_provider().await.unwrap_or_default();
        let name = provider.name().to_owned();
        ProviderReport {
            default: name == self.options.default_provider,
            healthy,
            latency,
            checked_at: self.clock.now(),
            capabilities: provider
                .capabilities()
                .iter()
                .map(|can| Capability::word(*can))
                .collect(),
            facts: provider.facts(),
            runtime_count: runtimes.map(|runtimes| runtimes.len()),
            sandbox_count: sandboxes.get(&name).map_or(0, |count| *count as usize),
            name,
        }
    }

    /// Whether sandboxes could be made now.
    pub(crate) async fn ready(&self) -> Result<(), Failure> {
        self.store.ping().await?;
        self.providers.get(&self.options.default_provider)?.probe().await
    }
}
