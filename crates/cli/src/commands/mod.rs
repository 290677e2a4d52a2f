//! The commands, one file each. A command is arguments, one or a few calls, and what is printed.

mod attach;
mod completion;
mod cp;
mod exec;
mod extend;
mod inspect;
mod kill;
mod logs;
mod ls;
mod ps;
mod run;
mod serve;
mod shell;
mod signal;
mod spawn;
mod stop;
pub mod version;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::args::{Cli, Command, Global};
use crate::config::Config;
use crate::failed::Failed;
use crate::surroundings::Surroundings;

/// Does what the command line says.
pub async fn dispatch(cli: Cli) -> Result<ExitCode, Failed> {
    let global = &cli.global;
    match cli.command {
        Command::Serve(args) => serve::serve(global, &args).await,
        Command::Run(args) => run::run(global, &args).await,
        Command::Spawn(args) => spawn::spawn(global, &args).await,
        Command::Exec(args) => exec::exec(global, &args).await,
        Command::Shell(args) => shell::shell(global, &args).await,
        Command::Ps(args) => ps::ps(global, &args).await,
        Command::Attach(args) => attach::attach(global, &args).await,
        Command::Signal(args) => signal::signal(global, args).await,
        Command::Stop(args) => stop::stop(global, &args).await,
        Command::Ls => ls::ls(global).await,
        Command::Inspect(args) => inspect::inspect(global, &args).await,
        Command::Kill(args) => kill::kill(global, &args).await,
        Command::Extend(args) => extend::extend(global, &args).await,
        Command::Logs(args) => logs::logs(global, &args).await,
        Command::Cp(args) => cp::cp(global, args).await,
        Command::Version => version::version(global),
        Command::Completion(args) => completion::completion(&args),
    }
}

/// The configuration and the data directory, the command line's flag first.
fn configured(global: &Global) -> Result<(Config, PathBuf), Failed> {
    let around = Surroundings::of_this_process();
    let config = crate::config::load(global.config.as_deref(), &around)?;
    let data_dir = global.data_dir.clone().or_else(|| config.data_dir.clone());
    Ok((config, data_dir.unwrap_or_else(|| around.default_data_dir())))
}
