//! `completion`: the script that completes our commands in a shell. Called by the dispatch; needs
//! no server.

use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::args::{Cli, Completion};
use crate::failed::Failed;
use crate::output;

/// Prints the script for a shell.
pub fn completion(args: &Completion) -> Result<ExitCode, Failed> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "stacyvm", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
