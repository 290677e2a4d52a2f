//! Commands: how they start, what they print, who follows them.

use std::fs;

use proto::{ExecStart, GuestErrorKind, Kind, Outcome, Reply, Request, StartFailure};

use crate::client::{argv, shell};
use crate::harness::{Agent, Options};

#[test]
fn a_shell_command_prints_and_exits() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let done = client.shell("echo out; echo err >&2; exit 3");
    assert_eq!((done.stdout.as_slice(), done.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(done.exit.outcome, Outcome::Exited { code: 3 });
    assert_eq!((done.exit.stdout_bytes, done.exit.stderr_bytes), (4, 4));
    assert!(done.exit.duration_us > 0 && done.exit.usage.memory_peak_bytes > 0);
}

#[test]
fn a_program_gets_its_arguments_without_a_shell() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let done = client.run(argv(&["printf", "%s|", "a b", "$HOME", "*"]));
    assert_eq!(done.text(), "a b|$HOME|*|");
    assert_eq!(done.exit.outcome, Outcome::Exited { code: 0 });
}

#[test]
fn a_job_has_its_own_environment_and_nothing_of_the_agents() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let mut start = argv(&["env"]);
    start.env = vec![("MINE".into(), "1".into()), ("BASE".into(), "no".into())];
    assert_eq!(client.run(start).text(), "BASE=no\nMINE=1\nPATH=/usr/bin:/bin\n");
}

#[test]
fn a_job_starts_with_three_descriptors_and_default_signals() {
    let agent = Agent::start();
    let mut client = agent.connect();
    assert_eq!(client.shell("ls /proc/$$/fd; :").text(), "0\n1\n2\n");
    let status = client.run(argv(&["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"])).text();
    // Two signals belong to the C library, which lets nobody set them.
    let of_the_library = 0b11 << 31;
    for line in status.lines() {
        let (name, mask) = line.split_once(":\t").unwrap();
        let mask = u64::from_str_radix(mask, 16).unwrap();
        assert_eq!(mask & !of_the_library, 0, "{name}");
    }
    assert_eq!(client.shell("umask; ulimit -n").text(), "0022\n1024\n");
}

#[test]
fn a_job_loses_the_agents_identity() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let agent = Agent::with(&Options { uid: 1000, ..Options::default() });
    let mut client = agent.connect();
    let id = client.shell("id -u; id -g; id -G; grep ^Cap /proc/self/status").text();
    let zero = "0000000000000000";
    let expected = format!(
        "1000\n1000\n1000\nCapInh:\t{zero}\nCapPrm:\t{zero}\nCapEff:\t{zero}\nCapBnd:\t{zero}\nCapAmb:\t{zero}\n"
    );
    assert_eq!(id, expected);
    let agent_is_closed =
        client.shell(&format!("cat /proc/{0}/environ; ls /proc/{0}/fd", agent.pid()));
    assert!(agent_is_closed.stdout.is_empty());
}

#[test]
fn what_cannot_be_started_says_why() {
    let agent = Agent::start();
    let mut client = agent.connect();
    fs::write(agent.dir.path().join("plain"), "no program").unwrap();
    let plain = agent.path("plain");
    let mut nowhere = shell("true");
    nowhere.workdir = Some("/does/not/exist".into());
    for (start, expected) in [
        (argv(&["no-such-program"]), StartFailure::NotFound),
        (argv(&["/no/such/program"]), StartFailure::NotFound),
        (argv(&[&plain]), StartFailure::NotExecutable),
        (argv(&["/tmp"]), StartFailure::NotExecutable),
        (nowhere, StartFailure::BadWorkdir),
    ] {
        let outcome = client.run(start).exit.outcome;
        let Outcome::StartFailed { failure, message } = outcome else { panic!("{outcome:?}") };
        assert_eq!(failure, expected, "{message}");
    }
}

#[test]
fn a_signal_is_told_from_an_exit() {
    let agent = Agent::start();
    let mut client = agent.connect();
    assert_eq!(client.shell("kill -USR1 $$").exit.outcome, Outcome::Signaled { signal: 10 });
    assert_eq!(client.shell("exit 138").exit.outcome, Outcome::Exited { code: 138 });
}

#[test]
fn a_job_without_input_does_not_wait_for_it() {
    let agent = Agent::start();
    let mut client = agent.connect();
    assert_eq!(client.run(argv(&["cat"])).exit.outcome, Outcome::Exited { code: 0 });
}

#[test]
fn a_slow_reader_holds_the_job_back_and_not_the_agents_memory() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let stream = client.start(shell("head -c 200000000 /dev/zero"));
    let before = agent.resident_kib();
    // Another stream goes on while this one has no credit left.
    assert_eq!(client.shell("echo other").text(), "other\n");
    let mut total = 0;
    let mut peak = 0;
    loop {
        match client.next(stream) {
            (Kind::Data, bytes) => {
                total += bytes.len();
                client.grant(stream, bytes.len());
                peak = peak.max(agent.resident_kib());
            }
            (kind, _) => {
                assert_eq!(kind, Kind::Exit);
                break;
            }
        }
    }
    assert_eq!(total, 200_000_000);
    assert!(peak < before + 4096, "{before} KiB grew to {peak} KiB");
}

#[test]
fn a_lost_connection_loses_no_output() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let fifo = agent.path("go");
    let start = shell(&format!("mkfifo {fifo}; echo one; cat {fifo}; echo three; exit 5"));
    let id = start.exec_id.clone();
    let stream = client.start(start);
    assert_eq!(client.read_output(stream, 4), b"one\n");
    drop(client);

    let mut client = agent.connect();
    let (stream, offsets) = client.attach(&id, [2, 0]);
    assert_eq!(offsets, [2, 0]);
    fs::write(&fifo, "two\n").unwrap();
    let done = client.finish(stream);
    assert_eq!(done.text(), "e\ntwo\nthree\n");
    assert_eq!(done.exit.outcome, Outcome::Exited { code: 5 });

    let (stream, offsets) = client.attach(&id, [0, 0]);
    assert_eq!(offsets, [0, 0]);
    let again = client.finish(stream);
    assert_eq!((again.text().as_str(), &again.exit), ("one\ntwo\nthree\n", &done.exit));
    let request = Request::Attach { exec_id: id, stdout_offset: 99, stderr_offset: 0 };
    assert_eq!(client.error(&request), GuestErrorKind::Invalid);
}

#[test]
fn a_new_follower_takes_over_from_the_old_one() {
    let agent = Agent::start();
    let (mut first, mut second) = (agent.connect(), agent.connect());
    let fifo = agent.path("go");
    let start = shell(&format!("mkfifo {fifo}; echo one; cat {fifo}"));
    let id = start.exec_id.clone();
    let old = first.start(start);
    assert_eq!(first.read_output(old, 4), b"one\n");
    let (new, _) = second.attach(&id, [4, 0]);
    assert_eq!(first.reset_reason(old).kind, GuestErrorKind::Busy);
    fs::write(&fifo, "two\n").unwrap();
    assert_eq!(second.finish(new).text(), "two\n");
}

#[test]
fn a_job_that_nobody_follows_is_never_blocked_and_its_last_bytes_are_kept() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let mut start = shell("head -c 30000000 /dev/zero; echo; echo tail");
    start.ring_bytes = 1000;
    let id = start.exec_id.clone();
    client.start(start);
    drop(client);
    let mut client = agent.connect();
    let exit = client.exit_of(&id);
    assert_eq!(exit.stdout_bytes, 30_000_006);
    let (stream, offsets) = client.attach(&id, [0, 0]);
    assert_eq!(offsets, [30_000_006 - 1000, 0]);
    assert!(client.finish(stream).stdout.ends_with(b"\0\ntail\n"));
}

#[test]
fn a_hundred_jobs_at_once_are_independent() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let streams: Vec<u32> = (0..100)
        .map(|n| client.open(&Request::Exec(shell(&format!("echo {n}; exit {n}")))))
        .collect();
    for (n, stream) in streams.into_iter().enumerate() {
        assert!(matches!(client.reply(stream), Reply::Started { .. }));
        let done = client.finish(stream);
        assert_eq!(done.text(), format!("{n}\n"));
        assert_eq!(done.exit.outcome, Outcome::Exited { code: i32::try_from(n).unwrap() });
    }
}

#[test]
fn limits_and_repeated_ids_are_typed() {
    let agent = Agent::with(&Options { max_execs: 1, ..Options::default() });
    let mut client = agent.connect();
    let start = shell("exec sleep 100");
    let id = start.exec_id.clone();
    let stream = client.start(start.clone());
    assert_eq!(client.error(&Request::Exec(shell("true"))), GuestErrorKind::Limit);
    assert_eq!(client.error(&Request::Exec(start)), GuestErrorKind::Exists);
    let release = Request::Release { exec_id: id.clone() };
    assert_eq!(client.error(&release), GuestErrorKind::Busy);
    assert_eq!(client.ask(&Request::Cancel { exec_id: id.clone() }), Reply::Done);
    assert_eq!(client.finish(stream).exit.outcome, Outcome::Canceled);
    assert_eq!(client.ask(&release), Reply::Done);
    assert_eq!(client.error(&Request::Cancel { exec_id: id }), GuestErrorKind::NoSuchExec);
    for exec_id in ["", "A", "../x", &"a".repeat(65)] {
        let start = ExecStart { exec_id: exec_id.into(), ..shell("true") };
        assert_eq!(client.error(&Request::Exec(start)), GuestErrorKind::Invalid);
    }
}

#[test]
fn only_the_last_ended_execs_are_remembered() {
    let agent = Agent::start();
    let mut client = agent.connect();
    for _ in 0..140 {
        client.run(argv(&["true"]));
    }
    let Reply::Execs { execs } = client.ask(&Request::Execs) else { panic!("a list") };
    assert_eq!(execs.len(), 128);
}

#[test]
fn the_console_keeps_the_last_lines_of_all() {
    let agent = Agent::start();
    let mut client = agent.connect();
    client.shell("echo one; printf 'two\\377'");
    let Reply::Console { lines } = client.ask(&Request::Console { lines: 3 }) else {
        panic!("a console")
    };
    assert_eq!(lines[..2], ["one", "two\u{fffd}"]);
    assert!(lines[2].contains("exited with code 0"), "{lines:?}");
}

#[test]
fn memory_that_ran_out_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let counter = scratch.path().join("memory.events");
    fs::write(&counter, "low 0\noom_kill 0\n").unwrap();
    let options = Options { oom_counter: Some(counter.clone()), ..Options::default() };
    let agent = Agent::with(&options);
    let mut client = agent.connect();
    assert_eq!(client.shell("kill -9 $$").exit.outcome, Outcome::Signaled { signal: 9 });
    let counts = format!("printf 'low 0\\noom_kill 1\\n' > {}; kill -9 $$", counter.display());
    assert_eq!(client.shell(&counts).exit.outcome, Outcome::OomKilled);
}
