//! `logs`: the last lines that programs in a sandbox wrote. Following them is `exec`'s.

use std::process::ExitCode;

use crate::args::{Global, Logs};
use crate::failed::Failed;
use crate::output;
use crate::plane;

/// Prints the last lines that programs in a sandbox wrote.
pub async fn logs(global: &Global, args: &Logs) -> Result<ExitCode, Failed> {
    let lines = plane::client(global)?.logs(&args.id, args.lines).await?;
    if global.json {
        output::print_json(&lines)?;
    } else {
        for line in lines {
            output::print(&(line + "\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
