//! `serve`: the life of a server, from its lock on the data directory to its last request. What it
//! is made of is `compose`'s, what it answers the server crate's.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use engine::Engine;
use server::{Server, ServerOptions};

use crate::args::{Global, Serve};
use crate::config::Config;
use crate::failed::Failed;
use crate::signals::Interrupts;
use crate::{compose, data_dir, logging, output, private};

/// Offers sandboxes over HTTP until it is asked to end. Sandboxes are left running, and found
/// again by the next server on the same data directory.
pub async fn serve(global: &Global, args: &Serve) -> Result<ExitCode, Failed> {
    let mut interrupts =
        Interrupts::catch().map_err(|error| Failed::to("catch signals", &error))?;
    let (mut config, directory) = super::configured(global)?;
    if let Some(listen) = args.listen {
        config.server.listen = listen;
    }
    logging::start(&config);
    let is_new = !directory.exists();
    data_dir::make(&directory)?;
    let started = start(config, &directory, &mut interrupts).await;
    if started.is_err() && is_new {
        // A server that never served leaves nothing; that it failed is what is told.
        let _ = data_dir::remove(&directory);
    }
    started
}

async fn start(
    config: Config,
    directory: &Path,
    interrupts: &mut Interrupts,
) -> Result<ExitCode, Failed> {
    let _lock = data_dir::lock(directory)?;
    for failed in private::sweep(directory).await {
        tracing::warn!(problem = failed.lines(false).trim_end(), "kept the rest of a killed run");
    }
    let engine = compose::lasting(&config, directory).await?;
    let result = listen(config.server, &engine, interrupts).await;
    engine.shutdown().await;
    result
}

async fn listen(
    options: ServerOptions,
    engine: &Arc<Engine>,
    interrupts: &mut Interrupts,
) -> Result<ExitCode, Failed> {
    let bound = Server::bind(options, engine.clone()).await?;
    output::say(&format!("listening on http://{}\n", bound.local_addr()));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = bound.run(async {
        // A sender that is gone says the same.
        let _ = stopped.await;
    });
    tokio::pin!(serving);
    tokio::select! {
        () = &mut serving => return Ok(ExitCode::SUCCESS),
        _ = interrupts.next() => {}
    }
    drop(stop);
    tokio::select! {
        () = &mut serving => Ok(ExitCode::SUCCESS),
        code = interrupts.next() => Ok(ExitCode::from(code)),
    }
}
