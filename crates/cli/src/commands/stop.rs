//! `stop`: ends a command and all that it started.

use std::process::ExitCode;

use crate::args::{Global, Stop};
use crate::failed::Failed;
use crate::output::{self, printable};
use crate::plane;

/// Ends a command; it has ended when this returns.
pub async fn stop(global: &Global, args: &Stop) -> Result<ExitCode, Failed> {
    let exec = plane::client(global)?.exec_kill(&args.id, &args.exec).await?;
    if global.json {
        output::print_json(&exec)?;
    } else {
        let outcome = printable(exec.outcome.as_deref().unwrap_or("ended"));
        output::print(&format!("Command {} has ended: {outcome}\n", printable(&exec.exec_id)))?;
    }
    Ok(ExitCode::SUCCESS)
}
