//! `signal`: sends a signal to a command.

use std::process::ExitCode;

use api::Signal as Name;
use serde_json::json;

use crate::args::{Global, Signal};
use crate::failed::Failed;
use crate::{output, plane};

/// Sends a signal.
pub async fn signal(global: &Global, args: Signal) -> Result<ExitCode, Failed> {
    let name = Name::Name(args.name);
    plane::client(global)?.exec_signal((&args.id, &args.exec), name).await?;
    if global.json {
        output::print_json(&json!({ "status": "sent" }))?;
    }
    Ok(ExitCode::SUCCESS)
}
