//! Programs in the background, and over a WebSocket.

use std::time::Duration;

use api::client::{ExecChunk, ExecMessage};
use api::{ExecRequest, Signal, TtySize};
use bytes::Bytes;
use futures::StreamExt;
use model::{Event, EventKind};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::plane::{Plane, assert_error, keys, shell};

async fn background(plane: &Plane, id: &str, body: Value) -> Value {
    let (status, exec) = plane.post(&format!("/sandboxes/{id}/exec"), &body.to_string()).await;
    assert_eq!(status, StatusCode::CREATED, "{exec}");
    exec
}

/// What the program wrote, and its exit.
async fn output(plane: &Plane, id: &str, exec: &str) -> (Vec<u8>, api::ExecExit) {
    let mut stream = plane.client.exec_output((id, exec), (0, 0)).await.unwrap();
    let mut written = Vec::new();
    while let Some(chunk) = stream.next().await {
        match chunk.unwrap() {
            ExecChunk::Stdout(bytes) | ExecChunk::Stderr(bytes) => written.extend(bytes),
            ExecChunk::Lost(bytes) => panic!("{bytes} bytes are missing"),
            ExecChunk::Exit(exit) => return (written, *exit),
        }
    }
    panic!("the output has no end")
}

/// The event of this kind about this exec, once it has happened.
async fn event_of(plane: &Plane, kind: EventKind, exec: &str) -> Event {
    let mut signal = plane.engine.event_signal();
    loop {
        let events = plane.engine.events_after(0, 1000).await.unwrap();
        let about = |event: &Event| event.data.get("exec_id").is_some_and(|id| id == exec);
        if let Some(event) = events.into_iter().find(|event| event.kind == kind && about(event)) {
            return event;
        }
        signal.changed().await.unwrap();
    }
}

#[tokio::test]
async fn a_program_in_the_background_is_answered_at_once_and_found_later() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let exec = background(&plane, &id, json!({"command": "echo hi; exit 3", "background": true}));
    let exec = exec.await;
    let exec_id = exec["exec_id"].as_str().unwrap();
    let (written, exit) = output(&plane, &id, exec_id).await;
    assert_eq!((written.as_slice(), exit.exit_code), (b"hi\n".as_slice(), 3));

    event_of(&plane, EventKind::ExecCompleted, exec_id).await;
    let record = plane.client.exec_record(&id, exec_id).await.unwrap();
    assert_eq!(record.state, "ended");
    assert_eq!((record.exit_code, record.outcome.as_deref()), (Some(3), Some("exited")));
    assert_eq!((record.background, record.stdout_bytes), (true, Some(3)));
    let listed = plane.client.execs(&id).await.unwrap();
    assert_eq!(listed, [record]);
    // The output of an ended program can be read again.
    assert_eq!(output(&plane, &id, exec_id).await.0, b"hi\n");
}

#[tokio::test]
async fn output_goes_on_from_an_offset_and_need_not_be_followed() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let body = json!({"command": "echo one; echo two; sleep 60", "background": true});
    let exec = background(&plane, &id, body).await;
    let exec_id = exec["exec_id"].as_str().unwrap();
    let path = format!("/sandboxes/{id}/execs/{exec_id}/output");
    let text = loop {
        let url = plane.url(&format!("{path}?follow=false&offset=4"));
        let text = plane.http.get(url).send().await.unwrap().text().await.unwrap();
        if text.contains("two") {
            break text;
        }
        tokio::task::yield_now().await;
    };
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, [json!({"stream": "stdout", "data": "two\n", "seq": 1, "next": 8})]);
    for (query, field) in [("offset=-1", "offset"), ("follow=maybe", "follow")] {
        let (status, body) = plane.get(&format!("{path}?{query}")).await;
        assert_eq!((status, &body["details"]["field"]), (StatusCode::BAD_REQUEST, &json!(field)));
    }
    let (status, body) = plane.get(&format!("{path}?offset=999")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
}

#[tokio::test]
async fn standard_input_is_written_in_pieces_and_closed() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let body = json!({"command": "cat", "background": true, "stdin": true});
    let exec = background(&plane, &id, body).await;
    let which = (id.as_str(), exec["exec_id"].as_str().unwrap());
    let taken = plane.client.exec_stdin(which, (Bytes::from_static(b"a\xffb"), false)).await;
    assert_eq!(taken.unwrap().bytes, 3);
    plane.client.exec_stdin(which, (Bytes::from_static(b"c"), true)).await.unwrap();
    let (written, exit) = output(&plane, which.0, which.1).await;
    assert_eq!((written.as_slice(), exit.exit_code), (b"a\xffbc".as_slice(), 0));

    let late = plane.client.exec_stdin(which, (Bytes::new(), true)).await.unwrap_err();
    assert_eq!(late.api().unwrap().body.reason, "exec_not_running");
}

#[tokio::test]
async fn input_that_was_not_asked_for_is_refused() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let exec = background(&plane, &id, json!({"command": "sleep 60", "background": true})).await;
    let which = (id.as_str(), exec["exec_id"].as_str().unwrap());
    let refused = plane.client.exec_stdin(which, (Bytes::from_static(b"x"), false)).await;
    assert_eq!(refused.unwrap_err().api().unwrap().body.reason, "stdin_closed");
    let size = TtySize { cols: 80, rows: 24 };
    let refused = plane.client.exec_resize(which, size).await.unwrap_err();
    assert_eq!(refused.api().unwrap().body.reason, "exec_not_running");
}

#[tokio::test]
async fn a_signal_and_a_kill_end_a_program_and_a_second_kill_is_fine() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let long = || json!({"command": "sleep 600", "background": true});
    let exec = background(&plane, &id, long()).await;
    let exec_id = exec["exec_id"].as_str().unwrap();
    plane.client.exec_signal((&id, exec_id), Signal::Name("TERM".into())).await.unwrap();
    let (_, exit) = output(&plane, &id, exec_id).await;
    assert_eq!((exit.outcome.as_str(), exit.signal), ("signaled", Some(15)));

    let exec = background(&plane, &id, long()).await;
    let exec_id = exec["exec_id"].as_str().unwrap();
    for _ in 0..2 {
        let killed = plane.client.exec_kill(&id, exec_id).await.unwrap();
        assert_eq!((killed.state.as_str(), killed.outcome.as_deref()), ("ended", Some("canceled")));
    }
    let path = format!("/sandboxes/{id}/execs/{exec_id}/signal");
    for bad in [r#"{"signal":"NOPE"}"#, r#"{"signal":0}"#, r#"{"signal":65}"#, "{}"] {
        let (status, body) = plane.post(&path, bad).await;
        assert_eq!(
            (status, &body["details"]["field"]),
            (StatusCode::BAD_REQUEST, &json!("signal"))
        );
    }
}

#[tokio::test]
async fn what_is_no_exec_of_the_sandbox_is_not_found() {
    let plane = Plane::start().await;
    let (id, other) = (plane.spawn().await, plane.spawn().await);
    let exec = background(&plane, &id, json!({"command": "true", "background": true})).await;
    let exec_id = exec["exec_id"].as_str().unwrap();
    for path in [
        format!("/sandboxes/{other}/execs/{exec_id}"),
        format!("/sandboxes/{id}/execs/ex-aaaaaaaaaaaaaaaaaaaa"),
        format!("/sandboxes/{id}/execs/rubbish"),
        format!("/sandboxes/{other}/execs/{exec_id}/output"),
    ] {
        let (status, body) = plane.get(&path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_error(&body, "exec_not_found");
    }
    let (status, body) = plane.get("/sandboxes/sb-aaaaaaaaaaaaaaaaaaaa/execs").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_error(&body, "sandbox_not_found");
}

#[tokio::test]
async fn a_key_starts_one_program_however_often_it_is_sent() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let request = shell("sleep 600");
    let start = || plane.client.exec_background(&id, &request, Some("once"));
    let (one, two) = tokio::join!(start(), start());
    assert_eq!(one.unwrap().exec_id, two.unwrap().exec_id);
    assert_eq!(plane.client.execs(&id).await.unwrap().len(), 1);
    let other = shell("sleep 601");
    let reused = plane.client.exec_background(&id, &other, Some("once")).await.unwrap_err();
    assert_eq!(reused.api().unwrap().body.reason, "idempotency_key_reused");
}

#[tokio::test]
async fn a_key_makes_one_sandbox_however_often_it_is_sent() {
    let plane = Plane::start().await;
    let create = || async {
        let post = plane.http.post(plane.url("/sandboxes")).header("Idempotency-Key", "k-1");
        let answer = post.body(r#"{"image":"host"}"#).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        let text = answer.text().await.unwrap();
        assert_eq!(keys(&text)[0], "id");
        serde_json::from_str::<Value>(&text).unwrap()["id"].clone()
    };
    let (one, two) = tokio::join!(create(), create());
    assert_eq!(one, two);
    assert_eq!(create().await, one);
    let post = plane.http.post(plane.url("/sandboxes")).header("Idempotency-Key", "k-1");
    let other = post.body(r#"{"image":"host","ttl":"5m"}"#).send().await.unwrap();
    assert_eq!(other.status(), StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_socket_carries_a_program_both_ways() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let request = ExecRequest { stdin: Some(true), ..shell("cat") };
    let (mut sender, mut receiver) = plane.client.exec_socket(&id, &request).await.unwrap();
    let Some(Ok(ExecMessage::Started(exec_id))) = receiver.next().await else {
        panic!("the first message is `started`")
    };
    assert!(exec_id.starts_with("ex-"));
    sender.stdin(Bytes::from_static(b"\x00\xff")).await.unwrap();
    let echoed = receiver.next().await.unwrap().unwrap();
    assert_eq!(echoed, ExecMessage::Stdout(Bytes::from_static(b"\x00\xff")));
    sender.close_stdin().await.unwrap();
    let Some(Ok(ExecMessage::Exit(exit))) = receiver.next().await else {
        panic!("the last message is `exit`")
    };
    assert_eq!((exit.exit_code, exit.exec_id), (0, exec_id));
    assert!(receiver.next().await.is_none());
}

#[tokio::test]
async fn a_socket_resizes_signals_and_says_what_is_wrong() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let tty = Some(TtySize { cols: 80, rows: 24 });
    let request = ExecRequest { tty, ..shell("sleep 600") };
    let (mut sender, mut receiver) = plane.client.exec_socket(&id, &request).await.unwrap();
    assert!(matches!(receiver.next().await, Some(Ok(ExecMessage::Started(_)))));
    sender.resize(TtySize { cols: 0, rows: 24 }).await.unwrap();
    let Some(Ok(ExecMessage::Refused(error))) = receiver.next().await else {
        panic!("a terminal without columns is refused")
    };
    assert_eq!(error.details["field"], "tty.cols");
    sender.resize(TtySize { cols: 100, rows: 30 }).await.unwrap();
    sender.signal(Signal::Number(9)).await.unwrap();
    let Some(Ok(ExecMessage::Exit(exit))) = receiver.next().await else {
        panic!("the signal ends the program")
    };
    assert_eq!(exit.signal, Some(9));
}

#[tokio::test]
async fn a_socket_whose_start_is_wrong_is_told_and_closed() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let request = ExecRequest { background: Some(true), ..shell("true") };
    let (_sender, mut receiver) = plane.client.exec_socket(&id, &request).await.unwrap();
    let Some(Ok(ExecMessage::Refused(error))) = receiver.next().await else {
        panic!("a socket is not in the background")
    };
    assert_eq!(error.details["field"], "background");
    assert!(receiver.next().await.is_none());

    let unknown = plane.client.exec_socket("sb-aaaaaaaaaaaaaaaaaaaa", &shell("true")).await;
    assert_eq!(unknown.unwrap_err().api().unwrap().body.reason, "sandbox_not_found");
    let (status, body) = plane.get(&format!("/sandboxes/{id}/exec/ws")).await;
    assert_eq!(status, StatusCode::UPGRADE_REQUIRED);
    assert_error(&body, "invalid_field");
}

#[tokio::test]
async fn a_client_that_leaves_a_socket_ends_its_program_only_if_that_was_asked_for() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    for (kill, outcome) in [(true, Some("canceled")), (false, None)] {
        let request = ExecRequest { kill_on_disconnect: Some(kill), ..shell("sleep 600") };
        let (sender, mut receiver) = plane.client.exec_socket(&id, &request).await.unwrap();
        let Some(Ok(ExecMessage::Started(exec_id))) = receiver.next().await else {
            panic!("the first message is `started`")
        };
        drop((sender, receiver));
        if kill {
            let ended = event_of(&plane, EventKind::ExecCompleted, &exec_id);
            let event = tokio::time::timeout(Duration::from_secs(10), ended).await.unwrap();
            assert_eq!(event.data.get("outcome").map(String::as_str), outcome);
        } else {
            let record = plane.client.exec_record(&id, &exec_id).await.unwrap();
            assert_eq!((record.state.as_str(), record.background), ("running", false));
        }
    }
}

#[tokio::test]
async fn an_offset_past_the_end_is_the_callers_mistake_and_named() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let exec = background(&plane, &id, json!({"command": "sleep 60", "background": true})).await;
    let exec_id = exec["exec_id"].as_str().unwrap();
    let path = format!("/sandboxes/{id}/execs/{exec_id}/output?offset=99");
    let (status, body) = plane.get(&path).await;
    assert_eq!((status, &body["details"]["field"]), (StatusCode::BAD_REQUEST, &json!("offset")));
    assert_error(&body, "invalid_field");
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_with_the_limit() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let request = ExecRequest { stdin: Some(true), kill_on_disconnect: Some(true), ..shell("cat") };
    let (mut sender, mut receiver) = plane.client.exec_socket(&id, &request).await.unwrap();
    assert!(matches!(receiver.next().await, Some(Ok(ExecMessage::Started(_)))));
    // The rest of the message may find the connection closed.
    let _ = sender.stdin(Bytes::from(vec![b'x'; 1024 * 1024 + 1])).await;
    let Some(Ok(ExecMessage::Refused(error))) = receiver.next().await else {
        panic!("a message that is too large is refused")
    };
    assert_eq!((error.reason.as_str(), error.request_id.is_empty()), ("too_large", false));
    assert_eq!(error.details["limit"], "socket_message_bytes");
}

#[tokio::test]
async fn a_reader_is_told_that_the_sandbox_ended_and_not_to_try_again() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let body = json!({"command": "echo a; sleep 600", "background": true});
    let exec = background(&plane, &id, body).await;
    let exec_id = exec["exec_id"].as_str().unwrap();
    let mut output = plane.client.exec_output((&id, exec_id), (0, 0)).await.unwrap();
    assert!(matches!(output.next().await, Some(Ok(ExecChunk::Stdout(_)))));
    plane.client.destroy(&id).await.unwrap();
    let Some(Ok(ExecChunk::Exit(exit))) = output.next().await else { panic!("it has an end") };
    assert_eq!((exit.outcome.as_str(), exit.error), ("sandbox_lost", None));
}
