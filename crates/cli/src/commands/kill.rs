//! `kill`: the end of sandboxes, verified by the server before this returns.

use std::process::ExitCode;

use serde_json::json;

use crate::args::{Global, Kill};
use crate::failed::Failed;
use crate::output::{self, printable};
use crate::plane;

/// Destroys sandboxes. One that cannot be destroyed does not keep the others alive.
pub async fn kill(global: &Global, args: &Kill) -> Result<ExitCode, Failed> {
    let client = plane::client(global)?;
    let mut failures = Vec::new();
    let mut destroyed = Vec::new();
    for id in &args.ids {
        match client.destroy(id).await {
            Ok(status) if global.json => {
                destroyed.push(json!({ "id": id, "status": status.status }));
            }
            Ok(_) => output::print(&format!("Sandbox {} destroyed\n", printable(id)))?,
            Err(error) => failures.push(Failed::from(error)),
        }
    }
    if global.json {
        output::print_json(&destroyed)?;
    }
    for failed in &failures {
        output::say(&failed.lines(global.json));
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(crate::FAILURE) })
}
