//! `exec`: a command in a sandbox that is there already, followed to its end or left to itself.
//! Sandboxes that live for one command are `run`'s.

use std::process::ExitCode;

use crate::args::{Exec, Global};
use crate::failed::Failed;
use crate::plane::Plane;
use crate::signals::Interrupts;
use crate::terminal::{self, Wish};
use crate::{follow, output, plane};

/// Runs a command in a sandbox. Ctrl-C ends the command: the server sees nobody follow it; with a
/// terminal of its own it is the command that gets it.
pub async fn exec(global: &Global, args: &Exec) -> Result<ExitCode, Failed> {
    let mut interrupts =
        Interrupts::catch().map_err(|error| Failed::to("catch signals", &error))?;
    let client = plane::client(global)?;
    if args.detach {
        let exec = client.exec_background(&args.id, &plane::request(&args.program), None).await?;
        if global.json {
            output::print_json(&exec)?;
        } else {
            output::print(&format!("{}\n", output::printable(&exec.exec_id)))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let wish = Wish::of(args.interaction, global.json)?;
    let plane = Plane::Server(client);
    let followed = async {
        if let Some(wish) = wish {
            return terminal::session(&plane, &args.id, (&args.program, wish)).await;
        }
        let chunks = plane.exec(&args.id, &args.program).await?;
        if global.json { follow::collected(chunks).await } else { follow::live(chunks).await }
    };
    let code = tokio::select! {
        code = followed => code?,
        code = interrupts.next() => code,
    };
    Ok(ExitCode::from(code))
}
