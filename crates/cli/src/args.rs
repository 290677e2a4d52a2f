//! The command line: every command, flag and variable, and nothing of what they do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use secrecy::SecretString;

use crate::place::Place;

/// The server that commands talk to when none is named.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:7423";

const EXIT_CODES: &str = "\
Exit codes: 0 success, 1 failure, 2 wrong usage.
`run` and `exec` exit with the code of the command: 128+n when signal n ended it, 124 when it ran
over its timeout, 126 when it cannot be executed, 127 when it is not there, 137 when memory ran out,
125 when StacyVM itself failed.";

/// Sandboxes for programs that you do not trust.
#[derive(Debug, Parser)]
#[command(name = "stacyvm", version = crate::commands::version::LONG, after_help = EXIT_CODES)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub struct Global {
    #[arg(help = "The server to talk to [default: http://127.0.0.1:7423]")]
    #[arg(long, global = true, value_name = "URL", env = "STACYVM_SERVER")]
    pub server: Option<String>,
    /// The server's API key
    #[arg(
        long,
        global = true,
        value_name = "KEY",
        env = "STACYVM_API_KEY",
        hide_env_values = true
    )]
    pub api_key: Option<SecretString>,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[arg(help = "The configuration \
                  [default: ./stacyvm.yaml,\nelse ~/.stacyvm/config.yaml]")]
    #[arg(long, global = true, value_name = "FILE", env = "STACYVM_CONFIG")]
    pub config: Option<PathBuf>,
    #[arg(help = "Where state is kept; also by STACYVM_DATA_DIR\n\
                  [default: /var/lib/stacyvm for root, else ~/.stacyvm/data]")]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Offer sandboxes over HTTP
    Serve(Serve),
    /// Run a command in a sandbox of its own, which ends with it
    Run(Run),
    /// Make a sandbox
    Spawn(Spawn),
    /// Run a command in a sandbox
    Exec(Exec),
    /// Open a shell in a sandbox
    Shell(Shell),
    /// List the commands of a sandbox that may outlive the calls that started them
    Ps(Ps),
    /// Print what a command wrote, and follow it to its end
    Attach(Attach),
    /// Send a signal to a command
    Signal(Signal),
    /// End a command and all that it started
    Stop(Stop),
    /// List sandboxes, newest first
    #[command(visible_alias = "list")]
    Ls,
    /// Show everything about a sandbox
    Inspect(Inspect),
    /// Destroy sandboxes
    Kill(Kill),
    /// Let a sandbox live for a time from now on
    Extend(Extend),
    /// Print the last lines that programs in a sandbox wrote
    Logs(Logs),
    /// Copy files into a sandbox or out of it
    Cp(Cp),
    /// Print the version
    Version,
    /// Print a script that completes commands in a shell
    Completion(Completion),
}

/// `serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// The address to listen on; port 0 takes any free one [default: 127.0.0.1:7423]
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    pub listen: Option<SocketAddr>,
}

/// What a sandbox is made from.
#[derive(Debug, Args)]
pub struct Machine {
    /// The image [default: the server's]
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// The provider [default: the server's]
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// Memory in MiB [default: the server's]
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u32).range(1..))]
    pub memory: Option<u32>,
    /// Processor cores [default: the server's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub vcpus: Option<u32>,
}

/// How a command is run.
#[derive(Debug, Args)]
pub struct Program {
    /// Set a variable in the command's environment; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = pair)]
    pub env: Vec<(String, String)>,
    /// Where to start [default: /workspace]
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// End the command and all that it started after this time: 30s, 5m
    #[arg(long, value_name = "TIME", value_parser = positive_duration)]
    pub timeout: Option<Duration>,
    /// Run as this user of the sandbox: a name, a number or user:group [default: the image's]
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Give the command to /bin/sh as one line
    #[arg(long)]
    pub shell: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// What of this terminal a command gets.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Interaction {
    /// Pass standard input on to the command
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the command a terminal, of the size of this one
    #[arg(short, long)]
    pub tty: bool,
}

/// `run`
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub machine: Machine,
    /// Use no server, even if one runs here
    #[arg(long, conflicts_with = "server")]
    pub local: bool,
    #[command(flatten)]
    pub interaction: Interaction,
    #[command(flatten)]
    pub program: Program,
}

/// `spawn`
#[derive(Debug, Args)]
pub struct Spawn {
    #[command(flatten)]
    pub machine: Machine,
    /// How long it lives: 30m, 1h30m [default: the server's]
    #[arg(long, value_name = "TIME", value_parser = positive_duration)]
    pub ttl: Option<Duration>,
    /// A label of your own; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub metadata: Vec<(String, String)>,
}

/// `exec`
#[derive(Debug, Args)]
pub struct Exec {
    /// The sandbox
    pub id: String,
    #[command(flatten)]
    pub interaction: Interaction,
    /// Print the command's id and let it run on by itself
    #[arg(short, long, conflicts_with_all = ["interactive", "tty"])]
    pub detach: bool,
    #[command(flatten)]
    pub program: Program,
}

/// `shell`
#[derive(Debug, Args)]
pub struct Shell {
    /// The sandbox
    pub id: String,
    /// Set a variable in the shell's environment; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = pair)]
    pub env: Vec<(String, String)>,
    /// Where to start [default: /workspace]
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Run as this user of the sandbox: a name, a number or user:group [default: the image's]
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
}

/// `ps`
#[derive(Debug, Args)]
pub struct Ps {
    /// The sandbox
    pub id: String,
}

/// `attach`
#[derive(Debug, Args)]
pub struct Attach {
    /// The sandbox
    pub id: String,
    /// The command, as `ps` and `exec --detach` name it
    pub exec: String,
}

/// `signal`
#[derive(Debug, Args)]
pub struct Signal {
    /// The sandbox
    pub id: String,
    /// The command, as `ps` and `exec --detach` name it
    pub exec: String,
    /// A name or a number: TERM, INT, 9
    #[arg(default_value = "TERM", value_name = "SIGNAL")]
    pub name: String,
}

/// `stop`
#[derive(Debug, Args)]
pub struct Stop {
    /// The sandbox
    pub id: String,
    /// The command, as `ps` and `exec --detach` name it
    pub exec: String,
}

/// `inspect`
#[derive(Debug, Args)]
pub struct Inspect {
    /// The sandbox
    pub id: String,
}

/// `kill`
#[derive(Debug, Args)]
pub struct Kill {
    /// The sandboxes
    #[arg(required = true)]
    pub ids: Vec<String>,
}

/// `extend`
#[derive(Debug, Args)]
pub struct Extend {
    /// The sandbox
    pub id: String,
    /// From now on: 30m, 1h30m
    #[arg(value_parser = positive_duration)]
    pub ttl: Duration,
}

/// `logs`
#[derive(Debug, Args)]
pub struct Logs {
    /// The sandbox
    pub id: String,
    /// How many lines
    #[arg(short = 'n', long, default_value_t = 100, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub lines: u32,
}

/// `cp`
#[derive(Debug, Args)]
pub struct Cp {
    /// Copy a directory with all that is in it
    #[arg(short, long)]
    pub recursive: bool,
    #[arg(help = "A file or directory here, or ID:/path in a sandbox; - is standard input")]
    #[arg(value_name = "FROM")]
    pub source: Place,
    #[arg(help = "A file or directory here, or ID:/path in a sandbox; - is standard output")]
    #[arg(value_name = "TO")]
    pub target: Place,
}

/// `completion`
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell
    pub shell: clap_complete::Shell,
}

impl Spawn {
    /// The labels; of one that is given twice, the last.
    pub fn labels(&self) -> Option<BTreeMap<String, String>> {
        let labels: BTreeMap<_, _> = self.metadata.iter().cloned().collect();
        (!labels.is_empty()).then_some(labels)
    }
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("expected a name, an equals sign and a value"),
    }
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    match model::parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("expected a duration above zero".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

fn listen(text: &str) -> Result<SocketAddr, &'static str> {
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    numeric.parse().map_err(|_| "expected an address and a port, such as 127.0.0.1:7423")
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use clap::CommandFactory as _;

    use super::*;

    fn parsed(line: &str) -> Result<Cli, String> {
        let words = std::iter::once("stacyvm").chain(line.split_whitespace());
        Cli::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_behind_the_command_belongs_to_it() {
        for line in ["run -- ls -la --json", "run ls -la --json"] {
            let cli = parsed(line).unwrap();
            assert!(!cli.global.json, "{line}");
            let Command::Run(run) = cli.command else { panic!("not `run`: {line}") };
            assert_eq!(run.program.command, ["ls", "-la", "--json"]);
        }
        let cli = parsed("exec sb-1 --json -e A=b=c --timeout 1m30s -- env").unwrap();
        assert!(cli.global.json);
        let Command::Exec(exec) = cli.command else { panic!("not `exec`") };
        assert_eq!(exec.id, "sb-1");
        assert_eq!(exec.program.env, [("A".to_owned(), "b=c".to_owned())]);
        assert_eq!(exec.program.timeout, Some(Duration::from_secs(90)));
        assert_eq!(exec.program.command, ["env"]);
        let cli = parsed("exec -it -u 1000 sb-1 -- sh -i").unwrap();
        let Command::Exec(exec) = cli.command else { panic!("not `exec`") };
        assert!(exec.interaction.interactive && exec.interaction.tty && !exec.detach);
        assert_eq!(exec.program.command, ["sh", "-i"]);
    }

    #[test]
    fn wrong_values_are_refused_with_what_was_expected() {
        for (line, expected) in [
            ("run", "required"),
            ("run --timeout 0s true", "above zero"),
            ("run --timeout 5 true", "a number and a unit"),
            ("run --memory 0 true", "1.."),
            ("run -e NAME true", "an equals sign"),
            ("run --local --server http://x true", "cannot be used with"),
            ("spawn --ttl=-5m", "zero or more"),
            ("serve --listen 7423", "an address and a port"),
            ("logs sb-1 -n 0", "1.."),
            ("kill", "required"),
            ("exec -d -i sb-1 true", "cannot be used with"),
            ("sevre", "serve"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn localhost_is_an_address_to_listen_on() {
        assert_eq!(listen("localhost:0"), Ok(SocketAddr::from(([127, 0, 0, 1], 0))));
        assert_eq!(listen("[::1]:80"), Ok("[::1]:80".parse().unwrap()));
    }

    #[test]
    fn a_key_in_the_environment_is_not_in_the_help() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("[env: STACYVM_API_KEY]"), "{help}");
    }

    #[test]
    fn the_page_about_the_command_line_has_the_help_of_every_command() {
        let mut root = Cli::command().mut_args(|arg| arg.hide_env_values(true));
        root.build();
        let mut text = format!("```text\n{}```\n", root.render_help());
        for command in root.get_subcommands_mut() {
            let name = command.get_name().to_owned();
            // What every command takes is shown once.
            let own = std::mem::take(command)
                .mut_args(|arg| if arg.is_global_set() { arg.hide(true) } else { arg });
            let help = own.clone().render_help();
            write!(text, "\n## stacyvm {name}\n\n```text\n{help}```\n").unwrap();
        }
        crate::page::check("cli.md", "help", &text);
    }
}
