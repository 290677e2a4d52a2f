//! The one binary `stacyvm`: sandboxes from the command line, with a server or without one, and
//! the server itself.
//!
//! This is the composition root and the only reader of flags, environment and configuration
//! files. It decides nothing about sandboxes: that is the engine's, behind the server or in this
//! process.

mod args;
mod commands;
mod compose;
mod config;
mod data_dir;
mod failed;
mod follow;
mod logging;
mod output;
#[cfg(test)]
mod page;
mod place;
mod plane;
mod private;
mod progress;
mod signals;
mod surroundings;
mod talk;
mod terminal;
mod tree;

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use args::{Cli, Command};
use failed::Failed;

/// The exit code of a failure of ours, as the page about the command line says.
const FAILURE: u8 = 1;

/// The same for commands that otherwise pass on another program's code.
const OWN_FAILURE: u8 = 125;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let json = cli.global.json;
    let code = match cli.command {
        Command::Run(_) | Command::Exec(_) | Command::Shell(_) | Command::Attach(_) => OWN_FAILURE,
        Command::Serve(_)
        | Command::Spawn(_)
        | Command::Ls
        | Command::Ps(_)
        | Command::Signal(_)
        | Command::Stop(_)
        | Command::Inspect(_)
        | Command::Kill(_)
        | Command::Extend(_)
        | Command::Logs(_)
        | Command::Cp(_)
        | Command::Version
        | Command::Completion(_) => FAILURE,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::report(&Failed::to("start", &error), json, code),
    };
    let result = runtime.block_on(commands::dispatch(cli));
    // A read of standard input that nobody waits for any more would hold the process.
    runtime.shutdown_background();
    result.unwrap_or_else(|failed| output::report(&failed, json, code))
}

/// Wrong usage is told on standard error; help and the version that were asked for are data.
fn usage(error: &clap::Error) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let _ = error.print();
    if asked { ExitCode::SUCCESS } else { ExitCode::from(2) }
}
