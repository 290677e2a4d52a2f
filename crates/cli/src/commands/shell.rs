//! `shell`: a login shell in a sandbox, on this terminal.

use std::process::ExitCode;

use crate::args::{Global, Program, Shell};
use crate::failed::Failed;
use crate::plane::{self, Plane};
use crate::signals::Interrupts;
use crate::surroundings::Surroundings;
use crate::terminal::{self, Wish};

/// The best shell that the image has.
const LOGIN_SHELL: &str =
    "if command -v bash >/dev/null 2>&1; then exec bash -l; else exec sh -l; fi";

/// What the shell takes over from here, so that keys, colours and letters mean the same.
const TAKEN_OVER: [&str; 2] = ["TERM", "COLORTERM"];

/// Opens a shell and gives its exit code.
pub async fn shell(global: &Global, args: &Shell) -> Result<ExitCode, Failed> {
    let mut interrupts =
        Interrupts::catch().map_err(|error| Failed::to("catch signals", &error))?;
    let plane = Plane::Server(plane::client(global)?);
    let around = Surroundings::of_this_process();
    let taken_over = around.variables().filter(|(name, _)| TAKEN_OVER.contains(name));
    let taken_over = taken_over.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let letters = [("LANG".to_owned(), "C.UTF-8".to_owned())];
    let program = Program {
        env: letters.into_iter().chain(taken_over).chain(args.env.iter().cloned()).collect(),
        workdir: args.workdir.clone(),
        timeout: None,
        user: args.user.clone(),
        shell: true,
        command: vec![LOGIN_SHELL.to_owned()],
    };
    let code = tokio::select! {
        code = terminal::session(&plane, &args.id, (&program, Wish::terminal()?)) => code?,
        code = interrupts.next() => code,
    };
    Ok(ExitCode::from(code))
}
