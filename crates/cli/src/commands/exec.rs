//! `exec`: a command in a sandbox that is there already, followed to its end. Sandboxes that live
//! for one command are `run`'s.

use std::process::ExitCode;

use crate::args::{Exec, Global};
use crate::failed::Failed;
use crate::signals::Interrupts;
use crate::{follow, plane};

/// Runs a command in a sandbox. Ctrl-C ends the command: the server sees nobody follow it.
pub async fn exec(global: &Global, args: &Exec) -> Result<ExitCode, Failed> {
    let mut interrupts =
        Interrupts::catch().map_err(|error| Failed::to("catch signals", &error))?;
    let client = plane::client(global)?;
    let followed = async {
        let chunks = plane::exec(&client, &args.id, &args.program).await?;
        if global.json { follow::collected(chunks).await } else { follow::live(chunks).await }
    };
    let code = tokio::select! {
        code = followed => code?,
        code = interrupts.next() => code,
    };
    Ok(ExitCode::from(code))
}
