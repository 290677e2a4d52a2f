//! The user that an exec runs as.

use proto::{ExecStart, Outcome, StartFailure, TtySize};

use crate::client::{Client, shell};
use crate::harness::{Agent, Options};

const WHO: &str = "echo $(id -u):$(id -g):$(id -G):$HOME:$USER:$LOGNAME";

fn as_user(line: &str, user: &str) -> ExecStart {
    ExecStart { user: Some(user.into()), ..shell(line) }
}

fn refusal(client: &mut Client, user: &str) -> String {
    let outcome = client.run(as_user("true", user)).exit.outcome;
    let Outcome::StartFailed { failure, message } = outcome else { panic!("{user}: {outcome:?}") };
    assert_eq!(failure, StartFailure::BadUser, "{message}");
    message
}

/// An agent whose jobs are those of user 1000; none where the test is not root.
fn agent() -> Option<Agent> {
    let root = rustix::process::geteuid().is_root();
    root.then(|| Agent::with(&Options { uid: 1000, ..Options::default() }))
}

#[test]
fn a_user_is_found_by_name_and_by_number() {
    let Some(agent) = agent() else { return };
    let mut client = agent.connect();
    // Every Debian has these.
    for (user, expected) in [
        ("daemon", "1:1:1:/usr/sbin:daemon:daemon\n"),
        ("1", "1:1:1:/usr/sbin:daemon:daemon\n"),
        ("games", "5:60:60:/usr/games:games:games\n"),
        ("games:tty", "5:5:5:/usr/games:games:games\n"),
        ("5:7", "5:7:7:/usr/games:games:games\n"),
        ("4242", "4242:4242:4242:::\n"),
    ] {
        assert_eq!(client.run(as_user(WHO, user)).text(), expected, "{user}");
    }
    assert_eq!(client.shell(WHO).text(), "1000:1000:1000:::\n");
}

#[test]
fn the_request_has_the_last_word_on_the_home() {
    let Some(agent) = agent() else { return };
    let mut client = agent.connect();
    let mut start = as_user("echo $HOME $USER", "daemon");
    start.env = vec![("HOME".into(), "/mine".into())];
    assert_eq!(client.run(start).text(), "/mine daemon\n");
}

#[test]
fn a_chosen_user_has_no_privileges_and_owns_its_terminal() {
    let Some(agent) = agent() else { return };
    let mut client = agent.connect();
    let done = client.run(as_user("grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status", "daemon"));
    assert_eq!(done.text().matches("0000000000000000").count(), 3, "{}", done.text());
    let mut start = as_user("stat -c %U $(tty); echo >/dev/tty", "daemon");
    start.tty = Some(TtySize { cols: 80, rows: 24 });
    assert_eq!(client.run(start).text(), "daemon\r\n\r\n");
}

#[test]
fn what_is_no_user_is_named() {
    let Some(agent) = agent() else { return };
    let mut client = agent.connect();
    for user in ["no-such-user", "", "-1", "4294967295", "daemon:no-such-group"] {
        let name = user.rsplit(':').next().unwrap();
        assert!(refusal(&mut client, user).contains(name));
    }
    assert!(refusal(&mut client, &"x".repeat(100_000)).len() <= 160);
}

#[test]
fn root_is_refused_where_jobs_are_not_roots() {
    let Some(agent) = agent() else { return };
    let mut client = agent.connect();
    for user in ["root", "0", "00", "root:daemon", "0:0"] {
        assert!(refusal(&mut client, user).contains("root"));
    }
}

#[test]
fn root_is_as_good_as_none_where_jobs_are_its() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let agent = Agent::start();
    let mut client = agent.connect();
    assert_eq!(client.run(as_user("id -u", "root")).text(), "0\n");
    assert_eq!(client.run(as_user("id -u", "daemon")).text(), "1\n");
}
