//! Watching and waiting for execs, and execs that nobody follows.

use std::fs;

use proto::{GuestErrorKind, Kind, Outcome, Reply, Request};

use crate::client::{argv, shell};
use crate::harness::Agent;
use crate::kill::wait_until;

#[test]
fn any_number_of_waiters_get_the_exit_and_none_of_the_output() {
    let agent = Agent::start();
    let (mut client, mut other) = (agent.connect(), agent.connect());
    let fifo = agent.path("go");
    let start = shell(&format!("mkfifo {fifo}; echo out; cat {fifo}; exit 7"));
    let wait = Request::Wait { exec_id: start.exec_id.clone() };
    let stream = client.start(start);
    client.read_until(stream, "out\n");
    let waiters: Vec<u32> = (0..100).map(|_| client.open(&wait)).collect();
    let given_up = client.open(&wait);
    client.send(Kind::Reset, given_up, b"");
    let lost = other.open(&wait);
    assert!(matches!(other.reply(lost), Reply::Started { .. }));
    drop(other);
    fs::write(&fifo, "").unwrap();
    let exit = client.finish(stream).exit;
    assert_eq!(exit.outcome, Outcome::Exited { code: 7 });
    let late = client.open(&wait);
    for waiter in waiters.into_iter().chain([late]) {
        assert!(matches!(client.reply(waiter), Reply::Started { .. }));
        let done = client.finish(waiter);
        assert_eq!((done.stdout.len(), &done.exit), (0, &exit));
    }
    let unknown = Request::Wait { exec_id: "none".into() };
    assert_eq!(client.error(&unknown), GuestErrorKind::NoSuchExec);
}

#[test]
fn a_start_that_fails_is_told_to_whom_it_may_concern() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let mut start = argv(&["no-such-program"]);
    start.detached = true;
    let id = start.exec_id.clone();
    let stream = client.start(start);
    let exit = client.finish(stream).exit;
    assert!(matches!(exit.outcome, Outcome::StartFailed { .. }));
    assert_eq!(client.exit_of(&id), exit);
    let (watch, _) = client.watch(&id, [0, 0]);
    assert_eq!(client.finish(watch).exit, exit);
}

#[test]
fn many_watchers_see_the_same_bytes_as_the_follower() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let fifo = agent.path("go");
    let line = format!("mkfifo {fifo}; echo early; echo error >&2; cat {fifo}; seq 100000");
    let start = shell(&line);
    let id = start.exec_id.clone();
    let stream = client.start(start);
    let mut early = [0, 0];
    while early != [6, 6] {
        let (kind, bytes) = client.next(stream);
        early[usize::from(kind == Kind::DataErr)] += bytes.len();
    }
    let watchers: Vec<u32> = (0..10).map(|_| client.watch(&id, [0, 0]).0).collect();
    let (tail, offsets) = client.watch(&id, [6, 2]);
    assert_eq!(offsets, [6, 2]);
    fs::write(&fifo, "").unwrap();
    let followed = client.finish(stream);
    for watcher in watchers {
        let watched = client.finish(watcher);
        assert_eq!(watched.stdout, [b"early\n", followed.stdout.as_slice()].concat());
        assert_eq!(watched.stderr, b"error\n");
        assert_eq!(watched.exit, followed.exit);
    }
    let tail = client.finish(tail);
    assert_eq!((&tail.stdout, tail.stderr.as_slice()), (&followed.stdout, &b"ror\n"[..]));
    let (late, offsets) = client.watch(&id, [7, 0]);
    assert_eq!(offsets, [7, 0]);
    assert_eq!(client.finish(late).stdout.len(), followed.stdout.len() - 1);
    let past = Request::Watch { exec_id: id, stdout_offset: 0, stderr_offset: 7 };
    assert_eq!(client.error(&past), GuestErrorKind::Invalid);
}

#[test]
fn a_watcher_that_is_slower_than_the_ring_is_reset_and_can_go_on() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let fifo = agent.path("go");
    let line =
        format!("mkfifo {fifo}; cat {fifo}; head -c 3000000 /dev/zero; cat {fifo}; printf end");
    let mut start = shell(&line);
    (start.detached, start.ring_bytes) = (true, 100_000);
    let id = start.exec_id.clone();
    let stream = client.start(start);
    let written = |client: &mut crate::client::Client| {
        let Reply::Execs { execs } = client.ask(&Request::Execs) else { panic!("a list") };
        (execs[0].oldest[0], execs[0].written[0])
    };
    // It has a window of a megabyte and is granted no more.
    let (slow, offsets) = client.watch(&id, [0, 0]);
    assert_eq!(offsets, [0, 0]);
    wait_until(|| fs::metadata(&fifo).is_ok());
    fs::write(&fifo, "").unwrap();
    wait_until(|| written(&mut client).1 == 3_000_000);
    assert_eq!(written(&mut client).0, 2_900_000);
    let mut sent = 0;
    let error = loop {
        match client.next(slow) {
            (Kind::Data, bytes) => sent += bytes.len() as u64,
            (kind, payload) => {
                assert_eq!(kind, Kind::Reset);
                break serde_json::from_slice::<proto::GuestError>(&payload).unwrap();
            }
        }
    };
    assert_eq!(error.kind, GuestErrorKind::FellBehind);
    let (again, offsets) = client.watch(&id, [sent, 0]);
    assert_eq!(offsets, [2_900_000, 0]);
    assert_eq!(client.read_output(again, 100_000), vec![0; 100_000]);
    fs::write(&fifo, "").unwrap();
    let done = client.finish(again);
    assert_eq!(done.text(), "end");
    assert_eq!(client.finish(stream).exit, done.exit);
}

#[test]
fn a_watcher_that_reads_nothing_holds_nobody_back() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let start = shell("head -c 5000000 /dev/zero");
    let id = start.exec_id.clone();
    let stream = client.start(start);
    let (_idle, _) = client.watch(&id, [0, 0]);
    let (given_up, _) = client.watch(&id, [0, 0]);
    client.send(Kind::Reset, given_up, b"");
    assert_eq!(client.finish(stream).stdout.len(), 5_000_000);
}

#[test]
fn watchers_over_the_limit_are_refused_until_one_goes_away() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let start = shell("exec sleep 100");
    let id = start.exec_id.clone();
    client.start(start);
    let watchers: Vec<u32> = (0..64).map(|_| client.watch(&id, [0, 0]).0).collect();
    let request = Request::Watch { exec_id: id, stdout_offset: 0, stderr_offset: 0 };
    assert_eq!(client.error(&request), GuestErrorKind::Limit);
    client.send(Kind::Reset, watchers[0], b"");
    wait_until(|| matches!(client.ask(&request), Reply::Started { .. }));
}

#[test]
fn a_detached_exec_says_only_its_exit_and_its_output_is_kept() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let fifo = agent.path("go");
    let mut start = shell(&format!("mkfifo {fifo}; echo one; cat {fifo}; echo two; exit 3"));
    start.detached = true;
    let id = start.exec_id.clone();
    let mut other = agent.connect();
    other.start(start.clone());
    drop(other);
    let waiter = client.open(&Request::Wait { exec_id: id.clone() });
    wait_until(|| fs::metadata(&fifo).is_ok());
    fs::write(&fifo, "").unwrap();
    assert!(matches!(client.reply(waiter), Reply::Started { .. }));
    let exit = client.finish(waiter).exit;
    assert_eq!((&exit.outcome, exit.stdout_bytes), (&Outcome::Exited { code: 3 }, 8));
    let (stream, offsets) = client.attach(&id, [0, 0]);
    assert_eq!((offsets, client.finish(stream).text().as_str()), ([0, 0], "one\ntwo\n"));
    let Reply::Console { lines } = client.ask(&Request::Console { lines: 3 }) else {
        panic!("a console")
    };
    assert_eq!(lines[..2], ["one", "two"]);

    start.exec_id = "quiet".into();
    start.program = argv(&["echo", "unheard"]).program;
    let done = client.run(start);
    assert_eq!((done.stdout.len(), done.exit.stdout_bytes), (0, 8));
}

#[test]
fn a_detached_exec_may_end_with_its_connection_and_may_be_followed() {
    let agent = Agent::start();
    let (mut client, mut other) = (agent.connect(), agent.connect());
    let mut start = shell("echo on; exec sleep 100");
    (start.detached, start.end_with_connection, start.grace_ms) = (true, true, 100);
    let id = start.exec_id.clone();
    other.start(start);
    drop(other);
    assert_eq!(client.exit_of(&id).outcome, Outcome::Canceled);

    let mut start = shell("head -c 20000000 /dev/zero");
    start.detached = true;
    let id = start.exec_id.clone();
    client.start(start);
    let (stream, offsets) = client.attach(&id, [0, 0]);
    let got = client.finish(stream).stdout.len() as u64;
    assert_eq!(offsets[0] + got, 20_000_000);
}

#[test]
fn no_descriptor_is_left_of_a_thousand_execs() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let open_files = || fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap().count();
    let round = |client: &mut crate::client::Client, count: usize| {
        for number in 0..count {
            let mut start = argv(&["true"]);
            if number % 4 == 0 {
                start.tty = Some(proto::TtySize { cols: 80, rows: 24 });
            }
            start.stdin = proto::Stdin::Stream;
            let id = start.exec_id.clone();
            let stream = client.start(start);
            let (watch, input) = (client.watch(&id, [0, 0]).0, client.input(&id, true));
            client.finish(stream);
            client.finish(watch);
            client.send(Kind::Reset, input, b"");
        }
    };
    // So many that no more are remembered later.
    round(&mut client, 150);
    let mut before = 0;
    // A watcher that has said all may still be on its way out.
    wait_until(|| std::mem::replace(&mut before, open_files()) == open_files());
    round(&mut client, 1000);
    wait_until(|| open_files() <= before);
}
