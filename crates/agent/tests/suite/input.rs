//! Standard input: order, ends, back-pressure, jobs that do not read it.

use proto::{ExecStart, GuestErrorKind, INITIAL_WINDOW, Kind, MAX_PAYLOAD, Outcome, Reply, Stdin};

use crate::client::{Client, argv, shell};
use crate::harness::Agent;

fn with_input(start: ExecStart) -> ExecStart {
    ExecStart { stdin: Stdin::Stream, ..start }
}

fn start(client: &mut Client, start: ExecStart) -> (String, u32) {
    let start = with_input(start);
    (start.exec_id.clone(), client.start(start))
}

fn refusal(client: &mut Client, stream: u32) -> GuestErrorKind {
    let reply = client.reply(stream);
    let Reply::Error(error) = reply else { panic!("{reply:?}") };
    error.kind
}

#[test]
fn every_byte_survives() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let (id, stream) = start(&mut client, argv(&["cat"]));
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    client.write(&id, &bytes, true);
    let done = client.finish(stream);
    assert!(done.stdout == bytes, "{} bytes came back", done.stdout.len());
}

#[test]
fn requests_to_write_are_served_in_order_and_the_last_one_closes() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let (id, stream) = start(&mut client, argv(&["cat"]));
    let (one, two) = (client.input(&id, false), client.input(&id, true));
    // The second has all its bytes before the first has any.
    client.send(Kind::Data, two, b"second");
    client.send(Kind::End, two, b"");
    client.send(Kind::Data, one, b"first ");
    client.send(Kind::End, one, b"");
    assert_eq!(client.reply(one), Reply::Written { bytes: 6 });
    assert_eq!(client.reply(two), Reply::Written { bytes: 6 });
    assert_eq!(client.finish(stream).text(), "first second");
    let late = client.input(&id, false);
    assert_eq!(refusal(&mut client, late), GuestErrorKind::NotRunning);
}

#[test]
fn a_job_takes_no_input_that_did_not_ask_for_it_or_has_had_its_end() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let plain = shell("exec sleep 100");
    let plain_id = plain.exec_id.clone();
    client.start(plain);
    let stream = client.input(&plain_id, false);
    assert_eq!(refusal(&mut client, stream), GuestErrorKind::InputClosed);
    let (id, _) = start(&mut client, shell("cat >/dev/null; exec sleep 100"));
    client.write(&id, b"", true);
    let stream = client.input(&id, false);
    assert_eq!(refusal(&mut client, stream), GuestErrorKind::InputClosed);
    let stream = client.input("no-such-exec", false);
    assert_eq!(refusal(&mut client, stream), GuestErrorKind::NoSuchExec);
}

#[test]
fn input_to_a_program_that_closed_its_own_is_refused_with_all_that_waits() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let (id, _) = start(&mut client, shell("exec <&-; exec sleep 100"));
    let waiting: Vec<u32> = (0..3).map(|_| client.input(&id, false)).collect();
    for stream in waiting {
        assert_eq!(refusal(&mut client, stream), GuestErrorKind::InputClosed);
    }
}

#[test]
fn input_that_waits_for_a_job_hears_of_its_end() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let (id, stream) = start(&mut client, argv(&["sleep", "100"]));
    let waiting: Vec<u32> = (0..64).map(|_| client.input(&id, false)).collect();
    let over = client.input(&id, false);
    assert_eq!(refusal(&mut client, over), GuestErrorKind::Limit);
    // More than the pipe holds, so that the first is in the middle of its bytes.
    client.send(Kind::Data, waiting[0], &vec![0; MAX_PAYLOAD]);
    assert_eq!(client.signal(&id, 9), Reply::Done);
    assert_eq!(client.finish(stream).exit.outcome, Outcome::Signaled { signal: 9 });
    for stream in waiting {
        let kind = refusal(&mut client, stream);
        assert!(matches!(kind, GuestErrorKind::NotRunning | GuestErrorKind::InputClosed));
    }
}

#[test]
fn a_request_whose_bytes_a_job_took_before_its_end_is_complete() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let (id, stream) = start(&mut client, argv(&["head", "-c", "5"]));
    let (ends, goes_on) = (client.input(&id, false), client.input(&id, false));
    client.send(Kind::Data, ends, b"exit\n");
    assert_eq!(client.finish(stream).text(), "exit\n");
    // The frame comes after the end of the job.
    client.send(Kind::End, ends, b"");
    assert_eq!(client.reply(ends), Reply::Written { bytes: 5 });
    let kind = refusal(&mut client, goes_on);
    assert!(matches!(kind, GuestErrorKind::NotRunning | GuestErrorKind::InputClosed));

    let (id, stream) = start(&mut client, shell("head -c 5; exec <&-; echo on; exec sleep 100"));
    let input = client.input(&id, false);
    client.send(Kind::Data, input, b"12345");
    client.read_until(stream, "on\n");
    client.send(Kind::Data, input, b"6");
    assert_eq!(refusal(&mut client, input), GuestErrorKind::InputClosed);
}

#[test]
fn a_request_without_an_end_hears_of_the_jobs() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let (id, stream) = start(&mut client, argv(&["head", "-c", "5"]));
    let input = client.input(&id, false);
    client.send(Kind::Data, input, b"exit\n");
    assert_eq!(client.finish(stream).exit.outcome, Outcome::Exited { code: 0 });
    assert_eq!(refusal(&mut client, input), GuestErrorKind::NotRunning);
}

#[test]
fn a_request_that_is_given_up_takes_only_its_own_bytes_back() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let fifo = agent.path("go");
    let line = format!("mkfifo {fifo}; echo on; cat {fifo}; exec cat");
    let (id, stream) = start(&mut client, shell(&line));
    client.read_until(stream, "on\n");
    let mut other = agent.connect();
    let given_up = client.input(&id, true);
    client.send(Kind::Data, given_up, &vec![b'a'; MAX_PAYLOAD]);
    let kept = client.input(&id, true);
    client.send(Kind::Data, kept, b"kept");
    client.send(Kind::End, kept, b"");
    let lost = other.input(&id, true);
    other.send(Kind::Data, lost, b"lost");
    client.send(Kind::Reset, given_up, b"");
    drop(other);
    std::fs::write(&fifo, "").unwrap();
    let text = client.finish(stream).text();
    let rest = text.trim_start_matches('a');
    assert!(rest == "kept" && text.len() < MAX_PAYLOAD, "{} {rest}", text.len());
    assert_eq!(client.reply(kept), Reply::Written { bytes: 4 });
}

#[test]
fn fifty_megabytes_go_through_a_job_in_little_memory() {
    const TOTAL: usize = 50_000_000;
    let agent = Agent::start();
    let mut client = agent.connect();
    let (id, out) = start(&mut client, argv(&["cat"]));
    let input = client.input(&id, true);
    let before = agent.resident_kib();
    let block = vec![7; 64 * 1024];
    let (mut sent, mut got, mut credit, mut peak) = (0, 0, INITIAL_WINDOW as usize, 0);
    while got < TOTAL {
        while sent < TOTAL && credit >= block.len() {
            let now = block.len().min(TOTAL - sent);
            client.send(Kind::Data, input, &block[..now]);
            (sent, credit) = (sent + now, credit - now);
            if sent == TOTAL {
                client.send(Kind::End, input, b"");
            }
        }
        let (header, payload) = client.read_frame().unwrap();
        if header.kind == Kind::Window {
            assert_eq!(header.stream, input);
            credit += proto::frame::decode_window(&payload).unwrap() as usize;
        } else if header.stream == out {
            assert_eq!(header.kind, Kind::Data);
            got += payload.len();
            client.grant(out, payload.len());
            peak = peak.max(agent.resident_kib());
        }
    }
    assert_eq!(client.finish(out).exit.stdout_bytes, TOTAL as u64);
    assert!(peak < before + 8192, "{before} KiB grew to {peak} KiB");
}

#[test]
fn nothing_is_granted_for_input_that_nobody_reads() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let (id, _) = start(&mut client, argv(&["sleep", "100"]));
    let input = client.input(&id, false);
    for _ in 0..4 {
        client.send(Kind::Data, input, &vec![0; MAX_PAYLOAD]);
    }
    client.send(Kind::Ping, 0, b"");
    let (header, _) = client.read_frame().unwrap();
    assert_eq!(header.kind, Kind::Pong);
}

#[test]
fn bytes_on_the_execs_own_stream_are_no_input() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let (id, stream) = start(&mut client, argv(&["cat"]));
    client.send(Kind::Data, stream, b"ignored");
    client.send(Kind::End, stream, b"");
    client.write(&id, b"taken", true);
    assert_eq!(client.finish(stream).text(), "taken");
}
