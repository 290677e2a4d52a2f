//! `spawn`: a sandbox that outlives the command. One that does not is `run`'s.

use std::process::ExitCode;

use api::SpawnRequest;

use crate::args::{Global, Spawn};
use crate::failed::Failed;
use crate::output::{self, printable};
use crate::plane;

/// Makes a sandbox and names it.
pub async fn spawn(global: &Global, args: &Spawn) -> Result<ExitCode, Failed> {
    let request = SpawnRequest {
        ttl: args.ttl.map(model::format_duration),
        metadata: args.labels(),
        ..plane::spawn_request(&args.machine)
    };
    let sandbox = plane::client(global)?.spawn(&request).await?;
    if global.json {
        output::print_json(&sandbox)?;
    } else {
        output::print(&format!(
            "Sandbox {} spawned (provider: {}, image: {})\n",
            printable(&sandbox.id),
            printable(&sandbox.provider),
            printable(&sandbox.image)
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
