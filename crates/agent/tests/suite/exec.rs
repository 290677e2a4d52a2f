//! Commands: how they start, what they print, how they end.

use proto::Outcome;

use crate::client::{argv, shell};
use crate::harness::Agent;

#[test]
fn a_shell_command_prints_and_exits() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let done = client.shell("echo out; echo err >&2; exit 3");
    assert_eq!((done.stdout.as_slice(), done.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(done.exit.outcome, Outcome::Exited { code: 3 });
    assert_eq!((done.exit.stdout_bytes, done.exit.stderr_bytes), (4, 4));
}

#[test]
fn a_program_gets_its_arguments_without_a_shell() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let done = client.run(argv(&["printf", "%s|", "a b", "$HOME", "*"]));
    assert_eq!(done.text(), "a b|$HOME|*|");
    assert_eq!(done.exit.outcome, Outcome::Exited { code: 0 });
    let _ = shell("");
}
