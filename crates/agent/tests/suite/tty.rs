//! Execs with a terminal.

use std::time::{Duration, Instant};

use proto::{ExecStart, GuestErrorKind, Outcome, Reply, Request, TtySize};

use crate::client::{Client, argv, shell};
use crate::harness::Agent;
use crate::kill::{in_every_mode, lives, marker, wait_until};

fn tty(start: ExecStart) -> ExecStart {
    ExecStart { tty: Some(TtySize { cols: 100, rows: 30 }), ..start }
}

fn resize(client: &mut Client, exec_id: &str, cols: u16, rows: u16) -> Reply {
    client.ask(&Request::Resize { exec_id: exec_id.into(), size: TtySize { cols, rows } })
}

/// An interactive shell without start-up files, and the id of its exec.
fn interactive(client: &mut Client) -> (String, u32) {
    let mut start = tty(argv(&["bash", "--norc", "--noprofile", "-i"]));
    start.env = vec![("PS1".into(), "@ ".into()), ("HISTFILE".into(), String::new())];
    start.env.push(("INPUTRC".into(), "/dev/null".into()));
    let id = start.exec_id.clone();
    let stream = client.start(start);
    client.read_until(stream, "@ ");
    (id, stream)
}

#[test]
fn a_job_has_a_terminal_of_its_own() {
    in_every_mode(|_, client, _| {
        let line = "tty; stty size; echo $TERM; stty -a | grep -o '[^ ]*iutf8'; \
                    [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all; echo err >&2; exit 6";
        let done = client.run(tty(shell(line)));
        let text = done.text();
        let (name, rest) = text.split_once("\r\n").unwrap();
        let number = name.strip_prefix("/dev/pts/").unwrap();
        assert!(number.parse::<u32>().is_ok(), "{name}");
        assert_eq!(rest, "30 100\r\nxterm-256color\r\niutf8\r\nall\r\nerr\r\n");
        assert_eq!(done.exit.outcome, Outcome::Exited { code: 6 });
        assert_eq!((done.exit.stdout_bytes, done.stderr.len()), (text.len() as u64, 0));
    });
}

#[test]
fn the_request_may_name_another_kind_of_terminal() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let mut start = tty(shell("echo $TERM"));
    start.env = vec![("TERM".into(), "dumb".into())];
    assert_eq!(client.run(start).text(), "dumb\r\n");
}

#[test]
fn what_is_typed_is_echoed_and_ctrl_d_ends_it() {
    let agent = Agent::start();
    let mut client = agent.connect();
    for (typed, printed) in [(&b"hello\n"[..], "hello\r\nhello\r\n"), (b"hel", "helhel"), (b"", "")]
    {
        let start = tty(argv(&["cat"]));
        let id = start.exec_id.clone();
        let stream = client.start(start);
        client.write(&id, typed, true);
        let done = client.finish(stream);
        assert_eq!(done.text().replace("^D\u{8}\u{8}", ""), printed);
        assert_eq!(done.exit.outcome, Outcome::Exited { code: 0 });
    }
}

#[test]
fn a_terminal_is_resized_and_its_programs_are_told() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let line = "trap 'stty size; exit' WINCH; echo on; while :; do sleep 0.02; done";
    let start = tty(shell(line));
    let id = start.exec_id.clone();
    let stream = client.start(start);
    client.read_until(stream, "on\r\n");
    assert_eq!(resize(&mut client, &id, 55, 44), Reply::Done);
    assert_eq!(client.finish(stream).text(), "44 55\r\n");
    let over = Request::Resize { exec_id: id, size: TtySize { cols: 1, rows: 1 } };
    assert_eq!(client.error(&over), GuestErrorKind::NotRunning);
    let plain = argv(&["sleep", "100"]);
    let id = plain.exec_id.clone();
    client.start(plain);
    let without = Request::Resize { exec_id: id, size: TtySize { cols: 1, rows: 1 } };
    assert_eq!(client.error(&without), GuestErrorKind::NotRunning);
}

#[test]
fn ctrl_c_interrupts_a_program() {
    in_every_mode(|_, client, _| {
        let start = tty(shell("echo on; exec sleep 100"));
        let id = start.exec_id.clone();
        let stream = client.start(start);
        client.read_until(stream, "on\r\n");
        client.write(&id, b"\x03", false);
        let done = client.finish(stream);
        assert_eq!(done.exit.outcome, Outcome::Signaled { signal: 2 });
        assert_eq!(done.text(), "^C");
    });
}

#[test]
fn an_interactive_shell_controls_its_jobs() {
    in_every_mode(|_, client, _| {
        let (id, stream) = interactive(client);
        let marker = marker();
        client.write(&id, format!("sleep {marker}\n").as_bytes(), false);
        wait_until(|| lives(&marker));
        client.write(&id, b"\x1a", false);
        client.read_until(stream, "@ ");
        client.write(&id, b"jobs\n", false);
        let jobs = client.read_until(stream, "@ ");
        assert!(jobs.contains("Stopped") && jobs.contains(&marker), "{jobs}");
        client.write(&id, b"fg\n", false);
        client.read_until(stream, &format!("sleep {marker}\r\n"));
        // The group in the foreground is the job's now, not the shell's.
        wait_until(|| {
            assert_eq!(client.signal(&id, 2), Reply::Done);
            !lives(&marker)
        });
        client.write(&id, b"\nexit 9\n", false);
        assert_eq!(client.finish(stream).exit.outcome, Outcome::Exited { code: 9 });
    });
}

#[test]
fn ctrl_c_interrupts_the_job_and_not_the_shell() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let (id, stream) = interactive(&mut client);
    let marker = marker();
    client.write(&id, format!("sleep {marker}\n").as_bytes(), false);
    wait_until(|| lives(&marker));
    client.write(&id, b"\x03", false);
    client.read_until(stream, "@ ");
    client.write(&id, b"echo $?\n", false);
    assert!(client.read_until(stream, "@ ").contains("130\r\n"));
    client.write(&id, b"", true);
    assert_eq!(client.finish(stream).exit.outcome, Outcome::Exited { code: 0 });
}

#[test]
fn a_child_that_keeps_the_terminal_does_not_hold_the_answer() {
    in_every_mode(|_, client, _| {
        let (left, told) = (marker(), marker());
        let line = format!(
            "sleep {told} & trap '' HUP; (trap '' HUP; exec sleep {left}) & echo said; exit 4"
        );
        let begun = Instant::now();
        let done = client.run(tty(shell(&line)));
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(
            (done.text().as_str(), done.exit.outcome),
            ("said\r\n", Outcome::Exited { code: 4 })
        );
        // What does not ignore it is ended by the end of its session, as on any terminal.
        wait_until(|| !lives(&told));
        wait_until(|| lives(&left));
    });
}

#[test]
fn a_timeout_and_a_cancel_end_all_that_has_the_terminal() {
    in_every_mode(|_, client, _| {
        let marker = marker();
        let line = format!(
            "trap '' HUP TERM; setsid sleep {marker} & nohup sleep {marker} & echo on; \
             sleep {marker}; sleep {marker}"
        );
        let mut start = tty(shell(&line));
        (start.timeout_ms, start.grace_ms) = (Some(500), 100);
        let done = client.run(start);
        assert_eq!(done.exit.outcome, Outcome::TimedOut);
        assert!(!lives(&marker), "something survived");

        let mut start = tty(shell(&line));
        start.grace_ms = 100;
        let id = start.exec_id.clone();
        let stream = client.start(start);
        client.read_output(stream, 4);
        assert_eq!(client.ask(&Request::Cancel { exec_id: id }), Reply::Done);
        assert_eq!(client.finish(stream).exit.outcome, Outcome::Canceled);
        assert!(!lives(&marker), "something survived");
    });
}

#[test]
fn a_job_may_close_its_terminal_and_open_it_again() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let line = "t=$(tty); exec <&- >&- 2>&-; exec 3>&-; sleep 0.1; echo back >$t";
    assert_eq!(client.run(tty(shell(line))).text(), "back\r\n");
}

#[test]
fn all_output_of_a_terminal_comes_before_the_exit() {
    let agent = Agent::start();
    let mut client = agent.connect();
    for _ in 0..5 {
        let done = client.run(tty(shell("seq 100000; exit 2")));
        assert_eq!(done.text().lines().count(), 100_000);
        assert!(done.text().ends_with("\n100000\r\n"));
        assert_eq!(done.exit.outcome, Outcome::Exited { code: 2 });
    }
}

#[test]
fn a_terminal_that_nobody_reads_holds_its_sender_back() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let start = tty(shell("stty raw -echo; echo on; head -c 1000000 | wc -c"));
    let id = start.exec_id.clone();
    let stream = client.start(start);
    client.read_until(stream, "on\n");
    client.write(&id, &vec![b'x'; 1_000_000], false);
    assert_eq!(client.finish(stream).text().trim(), "1000000");
}
