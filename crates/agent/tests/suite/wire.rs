//! The connection: dialled ports, hostile frames, limits.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;

use proto::{GuestErrorKind, Header, Kind, MAX_PAYLOAD, Reply, Request};

use crate::client::Client;
use crate::harness::Agent;

#[test]
fn a_dialled_port_carries_bytes_and_each_end_closes_on_its_own() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let echo = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        socket.read_to_end(&mut bytes).unwrap();
        // Answers only after the other side has closed, which a half-close allows.
        socket.write_all(&bytes).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
    });
    let stream = client.open(&Request::Dial { port });
    assert_eq!(client.reply(stream), Reply::Dialed);
    let bytes: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
    let mut credit = i64::from(proto::INITIAL_WINDOW);
    for chunk in bytes.chunks(65_536) {
        while credit < 65_536 {
            let (header, payload) = client.read_frame().unwrap();
            assert_eq!(header.kind, Kind::Window);
            credit += i64::from(proto::frame::decode_window(&payload).unwrap());
        }
        client.send(Kind::Data, stream, chunk);
        credit -= 65_536;
    }
    client.send(Kind::End, stream, b"");
    let back = client.read_output(stream, bytes.len());
    assert!(back == bytes);
    assert_eq!(client.next(stream).0, Kind::End);
    echo.join().unwrap();
}

#[test]
fn a_port_without_a_listener_is_refused() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    assert_eq!(client.error(&Request::Dial { port }), GuestErrorKind::ConnectionRefused);
    assert_eq!(client.error(&Request::Dial { port: 0 }), GuestErrorKind::Invalid);
}

#[test]
fn a_ping_is_answered_with_its_own_bytes() {
    let agent = Agent::start();
    let mut client = agent.connect();
    client.send(Kind::Ping, 0, b"are you there");
    assert_eq!(client.next(0), (Kind::Pong, b"are you there".to_vec()));
}

#[test]
fn the_same_agent_says_the_same_number() {
    let agent = Agent::start();
    let (one, two) = (agent.connect(), agent.connect());
    assert_ne!(one.hello.agent, 0);
    assert_eq!(one.hello, two.hello);
}

#[test]
fn a_peer_that_breaks_the_protocol_loses_its_connection_alone() {
    let agent = Agent::start();
    let mut steady = agent.connect();
    let attacks: [fn(&mut Client); 9] = [
        |client| client.socket.write_all(&[0xff; 64]).unwrap(),
        |client| {
            let mut header = Header::of(Kind::Data, 1, b"").encode();
            header[..4].copy_from_slice(&u32::MAX.to_le_bytes());
            client.socket.write_all(&header).unwrap();
        },
        |client| client.send(Kind::Hello, 0, b"{}"),
        |client| client.send(Kind::Open, 0, b"{}"),
        |client| client.send(Kind::Exit, 5, b"{}"),
        |client| client.send(Kind::Window, 5, b"abc"),
        |client| client.send(Kind::Ping, 0, &[0; 65]),
        |client| {
            let request = Request::Write {
                path: "/tmp/x/y/z".into(),
                mode: None,
                parents: false,
                only: None,
            };
            let text = serde_json::to_vec(&request).unwrap();
            client.send(Kind::Open, 9, &text);
            let request = Request::Exec(crate::client::shell("sleep 1000"));
            let text = serde_json::to_vec(&request).unwrap();
            client.send(Kind::Open, 10, &text);
            client.send(Kind::Open, 10, &text);
        },
        |client| {
            let mut start = crate::client::argv(&["sleep", "1000"]);
            start.stdin = proto::Stdin::Stream;
            let stream = client.start(start);
            for _ in 0..6 {
                let mut frame = Header { len: 262_144, stream, kind: Kind::Data }.encode().to_vec();
                frame.resize(frame.len() + MAX_PAYLOAD, 0);
                // The agent may have hung up already.
                let _ = client.socket.write_all(&frame);
            }
        },
    ];
    for (index, attack) in attacks.into_iter().enumerate() {
        let mut client = agent.connect();
        attack(&mut client);
        assert!(client.is_closed(), "attack {index}");
    }
    assert_eq!(steady.shell("echo alive").text(), "alive\n");
}

#[test]
fn a_peer_of_another_age_or_none_is_not_talked_to() {
    let agent = Agent::start();
    for first in [&br#"{"generation":0}"#[..], b"[]", b"\xff"] {
        let (mut raw, header) = raw(&agent, Header::of(Kind::Hello, 0, first));
        raw.write_all(&header).unwrap();
        raw.write_all(first).unwrap();
        let mut rest = Vec::new();
        raw.read_to_end(&mut rest).unwrap();
    }
    assert_eq!(agent.connect().shell("echo alive").text(), "alive\n");
}

fn raw(agent: &Agent, header: Header) -> (UnixStream, Vec<u8>) {
    (UnixStream::connect(agent.dir.path().join("agent.sock")).unwrap(), header.encode().to_vec())
}

#[test]
fn frames_for_streams_that_are_not_open_are_ignored() {
    let agent = Agent::start();
    let mut client = agent.connect();
    for kind in [Kind::Data, Kind::End, Kind::Reset] {
        client.send(kind, 77, b"");
    }
    client.send(Kind::Window, 77, &9_u32.to_le_bytes());
    assert_eq!(client.shell("echo alive").text(), "alive\n");
}

#[test]
fn a_request_that_is_none_is_refused_and_not_the_connection() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (stream, text) in
        (1000..).zip(["", "{}", r#"{"op":"fly"}"#, r#"{"op":"exec"}"#, "null", &deep])
    {
        client.send(Kind::Open, stream, text.as_bytes());
        let Reply::Error(error) = client.reply(stream) else { panic!("{text}") };
        assert_eq!(error.kind, GuestErrorKind::Invalid);
    }
    assert_eq!(client.shell("echo alive").text(), "alive\n");
}

#[test]
fn connections_over_the_limit_are_turned_away_until_one_ends() {
    let agent = Agent::start();
    let mut clients: Vec<Client> = (0..8).map(|_| agent.connect()).collect();
    let path = agent.dir.path().join("agent.sock");
    let mut turned_away = UnixStream::connect(&path).unwrap();
    let mut bytes = Vec::new();
    turned_away.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"");
    let gone = clients.pop().unwrap();
    drop(gone);
    let mut answered = [0];
    while UnixStream::connect(&path).unwrap().read(&mut answered).unwrap_or(0) == 0 {}
    for client in &mut clients {
        assert_eq!(client.shell("echo alive").text(), "alive\n");
    }
}
