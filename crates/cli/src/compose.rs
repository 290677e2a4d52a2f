//! Puts the product together: store, providers, engine.
//!
//! The only place that names a driver. `serve` keeps its state; a `run` without a server keeps
//! nothing.

use std::path::Path;
use std::sync::Arc;

use engine::{Engine, EngineOptions};
use model::SystemClock;
use native::{NativeOptions, NativeProvider};
use provider::Provider;
use store::Store;

use crate::config::Config;
use crate::data_dir;
use crate::failed::Failed;

/// The native provider's part of a data directory.
const NATIVE_DIR: &str = "native";

/// The control plane of a server, over what an earlier one left in `directory`.
pub async fn lasting(config: &Config, directory: &Path) -> Result<Arc<Engine>, Failed> {
    let database = match &config.database_path {
        Some(path) => path.clone(),
        None => directory.join("stacyvm.db"),
    };
    let store = Store::open(&database).await?;
    let state_dir = directory.join(NATIVE_DIR);
    let native = NativeProvider::start(NativeOptions { state_dir, ephemeral: false }).await?;
    start(config.engine.clone(), store, native).await
}

/// A control plane that ends with this process, and its sandboxes with it.
pub async fn passing(options: EngineOptions, directory: &Path) -> Result<Arc<Engine>, Failed> {
    let store = Store::open_in_memory().await?;
    let state_dir = directory.join(NATIVE_DIR);
    let native = NativeProvider::start(NativeOptions { state_dir, ephemeral: true }).await?;
    start(options, store, native).await
}

/// Destroys what a killed process left in `directory`, then the directory.
pub async fn sweep(directory: &Path) -> Result<(), Failed> {
    let state_dir = directory.join(NATIVE_DIR);
    if state_dir.is_dir() {
        let native = NativeProvider::start(NativeOptions { state_dir, ephemeral: true }).await?;
        for entry in native.list().await? {
            native.destroy(&entry.name).await?;
        }
        native.close().await;
    }
    data_dir::remove(directory).map_err(|error| Failed::with_path("remove", directory, &error))
}

async fn start(
    options: EngineOptions,
    store: Store,
    native: NativeProvider,
) -> Result<Arc<Engine>, Failed> {
    // The engine puts its deadlines on.
    let native: Arc<dyn Provider> = Arc::new(native);
    Ok(Engine::start(options, store, vec![native], Arc::new(SystemClock)).await?)
}
