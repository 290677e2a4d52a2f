//! `extend`: a new time to live for a sandbox, from now on. The limits are the server's.

use std::process::ExitCode;

use crate::args::{Extend, Global};
use crate::failed::Failed;
use crate::output::{self, printable};
use crate::plane;

/// Sets a sandbox's time to live anew, from now on.
pub async fn extend(global: &Global, args: &Extend) -> Result<ExitCode, Failed> {
    let ttl = model::format_duration(args.ttl);
    let sandbox = plane::client(global)?.extend(&args.id, &ttl).await?;
    if global.json {
        output::print_json(&sandbox)?;
    } else {
        let (id, expires_at) = (printable(&sandbox.id), printable(&sandbox.expires_at));
        output::print(&format!("Sandbox {id} expires at {expires_at}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
