//! The project's own commands, run as `cargo xtask <command>`.
//!
//! This file holds the command line and nothing else: each command is a module of the same name.
//! Nothing of the product lives here, and no crate of the product depends on this one. Called by
//! developers and by `.ci/run`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program answers on stdout and talks on stderr"
)]

mod bench;
mod command;
mod failure;
mod fuzz;
mod needs;
mod test;
mod tidy;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;
use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The project's own commands")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing, run every test, and check that nothing is left behind.
    Test {
        /// Run only the Rust tests whose name contains one of these.
        #[arg(last = true, value_name = "NAME")]
        filters: Vec<String>,
    },
    /// Check the rules of the code that no compiler checks, and print every finding.
    Tidy,
    /// Feed every reader of foreign bytes with made-up input, for a bounded time.
    Fuzz {
        /// How long each target runs.
        #[arg(long, default_value_t = fuzz::SECONDS_DEFAULT, value_name = "N")]
        seconds: u32,
        /// Run only the targets whose name contains one of these.
        #[arg(last = true, value_name = "NAME")]
        filters: Vec<String>,
    },
    /// Measure sandboxes against bubblewrap and Docker, side by side in one run.
    Bench {
        /// How often each thing is measured.
        #[arg(long, default_value_t = bench::ROUNDS_DEFAULT, value_parser = bench::rounds())]
        rounds: u32,
        /// Also write the results to this file, as JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.task) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: failed to {failure}");
            let mut cause = std::error::Error::source(&failure);
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode, Failure> {
    let workspace = Workspace::load()?;
    match task {
        Task::Test { filters } => test::run(&workspace, &filters).map(|()| ExitCode::SUCCESS),
        Task::Tidy => tidy::run(&workspace),
        Task::Fuzz { seconds, filters } => {
            fuzz::run(&workspace, seconds, &filters).map(|()| ExitCode::SUCCESS)
        }
        Task::Bench { rounds, json } => {
            bench::run(&workspace, rounds, json.as_deref()).map(|()| ExitCode::SUCCESS)
        }
    }
}
