//! `run`: a sandbox's whole life in one command, at a server or in this process.

use std::process::ExitCode;

use crate::args::{Global, Run};
use crate::failed::Failed;
use crate::plane::{self, Plane};
use crate::signals::Interrupts;
use crate::terminal::{self, Wish};
use crate::{follow, output};

/// Makes a sandbox, runs the command in it and destroys it, whatever happens in between.
///
/// Asked to end, it cancels the command and cleans up; asked again, it leaves that to the
/// sandbox's time to live, or to the next run.
pub async fn run(global: &Global, args: &Run) -> Result<ExitCode, Failed> {
    let mut interrupts =
        Interrupts::catch().map_err(|error| Failed::to("catch signals", &error))?;
    let plane = plane(global, args).await?;
    let result = life(&plane, global, args, &mut interrupts).await;
    let closed = tokio::select! {
        closed = plane.close() => closed,
        _ = interrupts.next() => Ok(()),
    };
    let code = result?;
    closed?;
    Ok(ExitCode::from(code))
}

/// A server that was named, else one that runs here, else none.
async fn plane(global: &Global, args: &Run) -> Result<Plane, Failed> {
    let at_server =
        !args.local && (global.server.is_some() || plane::default_server_answers(global).await);
    if at_server {
        return Ok(Plane::Server(plane::client(global)?));
    }
    let (config, data_dir) = super::configured(global)?;
    Plane::private(&config, &data_dir).await
}

async fn life(
    plane: &Plane,
    global: &Global,
    args: &Run,
    interrupts: &mut Interrupts,
) -> Result<u8, Failed> {
    // Before anything is made: what this terminal cannot give need not be tried.
    let wish = Wish::of(args.interaction, global.json)?;
    let mut interrupted = None;
    let id = {
        // A create that is given up would leave its sandbox behind, so it is waited for.
        let creating = plane.create(&args.machine, args.program.timeout);
        tokio::pin!(creating);
        tokio::select! {
            id = &mut creating => id?,
            code = interrupts.next() => {
                interrupted = Some(code);
                tokio::select! {
                    id = &mut creating => id?,
                    code = interrupts.next() => return Ok(code),
                }
            }
        }
    };
    let code = if let Some(code) = interrupted {
        Ok(code)
    } else {
        tokio::select! {
            code = followed(plane, (global, wish), &id, args) => code,
            code = interrupts.next() => Ok(code),
        }
    };
    let destroyed = tokio::select! {
        destroyed = plane.destroy(&id) => destroyed,
        _ = interrupts.next() => abandoned(plane, &id),
    };
    match (code, destroyed) {
        (Ok(code), Err(failed)) => {
            output::say(&failed.lines(global.json));
            Ok(if code == 0 { crate::OWN_FAILURE } else { code })
        }
        (code, Ok(()) | Err(_)) => code,
    }
}

/// What becomes of a sandbox that nobody waits for any more.
fn abandoned(plane: &Plane, id: &str) -> Result<(), Failed> {
    match plane {
        Plane::Private(_) => Ok(()),
        Plane::Server(_) => Err(Failed::new(format!("left the sandbox {id} behind"))
            .hint("it ends when its time is over; `stacyvm kill` ends it now")),
    }
}

async fn followed(
    plane: &Plane,
    (global, wish): (&Global, Option<Wish>),
    id: &str,
    args: &Run,
) -> Result<u8, Failed> {
    if let Some(wish) = wish {
        return terminal::session(plane, id, (&args.program, wish)).await;
    }
    let chunks = plane.exec(id, &args.program).await?;
    if global.json { follow::collected(chunks).await } else { follow::live(chunks).await }
}
