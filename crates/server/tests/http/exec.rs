//! Running programs, in one piece and as a stream.

use api::client::ExecChunk;
use api::{Encoding, ExecRequest};
use futures::StreamExt;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::plane::{Plane, assert_error, keys, shell};

async fn exec(plane: &Plane, body: &Value) -> (StatusCode, Value) {
    let id = plane.spawn().await;
    plane.post(&format!("/sandboxes/{id}/exec"), &body.to_string()).await
}

#[tokio::test]
async fn a_result_begins_with_the_published_fields() {
    let plane = Plane::start().await;
    let url = plane.url(&format!("/sandboxes/{}/exec", plane.spawn().await));
    let request = plane.http.post(url).body(r#"{"command":"echo out; echo err >&2; exit 3"}"#);
    let text = request.send().await.unwrap().text().await.unwrap();
    let expected = [
        "exit_code",
        "stdout",
        "stderr",
        "duration",
        "outcome",
        "truncated",
        "stdout_bytes",
        "stderr_bytes",
        "usage",
        "exec_id",
    ];
    assert_eq!(keys(&text), expected);
    let result: api::ExecResult = serde_json::from_str(&text).unwrap();
    assert_eq!((result.exit_code, result.outcome.as_str()), (3, "exited"));
    assert_eq!((result.stdout.as_str(), result.stderr.as_str()), ("out\n", "err\n"));
    assert!(model::parse_duration(&result.duration).is_ok());
}

#[tokio::test]
async fn a_timeout_is_408_with_what_there_is_of_the_result() {
    let plane = Plane::start().await;
    let body = json!({"command": "echo partial; sleep 60", "timeout": "50ms"});
    let (status, body) = exec(&plane, &body).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    assert_error(&body, "exec_timeout");
    assert!(body["message"].as_str().unwrap().starts_with("exec timeout: sb-"));
    let details = &body["details"];
    assert_eq!(
        (&details["stdout"], &details["outcome"]),
        (&json!("partial\n"), &json!("timed_out"))
    );
    assert_eq!((&details["exit_code"], &details["truncated"]), (&json!(124), &json!(false)));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_a_result_and_a_bad_workdir_is_not() {
    let plane = Plane::start().await;
    let (status, body) = exec(&plane, &json!({"command": "nonesuch", "mode": "argv"})).await;
    assert_eq!((status, &body["exit_code"]), (StatusCode::OK, &json!(127)), "{body}");
    assert_eq!(body["outcome"], "start_failed");
    assert!(!body["stderr"].as_str().unwrap().is_empty());
    let (status, body) = exec(&plane, &json!({"command": "pwd", "workdir": "/nonesuch"})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_error(&body, "workdir_invalid");
}

#[tokio::test]
async fn bad_requests_name_the_field() {
    let plane = Plane::start().await;
    for (body, field) in [
        (json!({"command": "id", "mode": "x"}), "mode"),
        (json!({"command": " ", "mode": "argv"}), "command"),
        (json!({"timeout": "-1s"}), "timeout"),
        (json!({"command": 1}), "command"),
        (json!({"args": "x"}), "args"),
        (json!({"encoding": "hex"}), "encoding"),
        (json!({"comand": "id"}), "comand"),
    ] {
        let (status, error) = exec(&plane, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {error}");
        assert_eq!(error["details"]["field"], field, "{body}: {error}");
        plane.client.destroy(&plane.client.list().await.unwrap()[0].id).await.unwrap();
    }
}

#[tokio::test]
async fn a_timeout_over_the_limit_and_a_command_line_over_it_are_refused() {
    let plane = Plane::start().await;
    let (status, body) = exec(&plane, &json!({"command": "id", "timeout": "24h"})).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_error(&body, "timeout_too_long");
    let (status, body) = exec(&plane, &json!({"command": "x".repeat(10_000_000)})).await;
    assert!(status.is_client_error(), "{status}");
    let message = body["message"].as_str().unwrap();
    assert!(message.len() < 1000 && message.chars().any(|c| c.is_ascii_digit()), "{message}");
}

#[tokio::test]
async fn bytes_that_are_no_text_survive_in_base64() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let bytes: &'static [u8] = b"\xff\x00\xc3";
    let body = futures::stream::iter([Ok::<_, std::io::Error>(bytes)]);
    plane.client.write_file(&id, ("/workspace/raw", None), body).await.unwrap();
    let request = ExecRequest { encoding: Some(Encoding::Base64), ..shell("cat /workspace/raw") };
    assert_eq!(plane.client.exec(&id, &request).await.unwrap().stdout, "/wDD");
    let text = plane.client.exec(&id, &shell("cat /workspace/raw")).await.unwrap().stdout;
    assert_eq!(text, "\u{fffd}\0\u{fffd}");
}

#[tokio::test]
async fn a_stream_is_lines_that_end_with_the_exit() {
    let plane = Plane::start().await;
    let url = plane.url(&format!("/sandboxes/{}/exec", plane.spawn().await));
    let body = r#"{"command":"echo out; echo err >&2; exit 3","stream":true}"#;
    let response = plane.http.post(url).body(body).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    assert_eq!(response.headers()["cache-control"], "no-cache");
    let text = response.text().await.unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0], json!({"stream": "stdout", "data": "out\n", "seq": 1}));
    assert_eq!(lines[1], json!({"stream": "stderr", "data": "err\n", "seq": 2}));
    let expected = [
        "stream",
        "data",
        "outcome",
        "exit_code",
        "duration",
        "truncated",
        "stdout_bytes",
        "stderr_bytes",
        "usage",
        "exec_id",
    ];
    assert_eq!(keys(text.lines().last().unwrap()), expected);
    assert_eq!((&lines[2]["stream"], &lines[2]["data"]), (&json!("exit"), &json!("")));
    assert_eq!((&lines[2]["exit_code"], &lines[2]["outcome"]), (&json!(3), &json!("exited")));
}

#[tokio::test]
async fn a_silent_stream_sends_heartbeats_and_each_line_at_once() {
    let plane = Plane::start().await;
    let url = plane.url(&format!("/sandboxes/{}/exec", plane.spawn().await));
    let body = r#"{"command":"echo first; sleep 60","stream":true,"kill_on_disconnect":true}"#;
    let mut response = plane.http.post(url).body(body).send().await.unwrap();
    let mut text = String::new();
    while !text.contains("heartbeat") {
        let chunk = response.chunk().await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(text.starts_with(r#"{"stream":"stdout","data":"first\n","seq":1}"#), "{text}");
    assert!(text.contains("{\"stream\":\"heartbeat\",\"data\":\"\"}\n"), "{text}");
}

#[tokio::test]
async fn a_timeout_in_a_stream_is_the_outcome_of_its_last_line() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let request = ExecRequest { timeout: Some("50ms".into()), ..shell("echo a; sleep 60") };
    let chunks: Vec<_> = plane.client.exec_stream(&id, &request).await.unwrap().collect().await;
    assert!(matches!(&chunks[0], Ok(ExecChunk::Stdout(bytes)) if bytes == "a\n"));
    let Some(Ok(ExecChunk::Exit(exit))) = chunks.last() else { panic!("{chunks:?}") };
    assert_eq!((exit.outcome.as_str(), exit.exit_code), ("timed_out", 124));
}

#[tokio::test]
async fn an_error_before_a_stream_begins_is_json() {
    let plane = Plane::start().await;
    let (status, body) =
        plane.post("/sandboxes/sb-aaaaaaaaaaaaaaaaaaaa/exec", r#"{"stream":true}"#).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_error(&body, "sandbox_not_found");
}

#[tokio::test]
async fn a_plain_exec_ends_when_its_client_goes_away() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let mut events = plane.client.events(Some(0)).await.unwrap();
    let request = shell("echo up; sleep 600");
    let call = plane.client.exec(&id, &request);
    let is_up = async { while plane.client.logs(&id, 1).await.unwrap().is_empty() {} };
    tokio::select! {
        result = call => panic!("{result:?}"),
        () = is_up => {}
    }
    // Its end is read from the events: the agent is told to forget such a program once it has
    // ended, so whoever asked the agent would at times come too late.
    let mut started = None;
    let ended = loop {
        let event = events.next().await.unwrap().unwrap();
        match event.kind.as_str() {
            "exec.started" => started = event.data.get("exec_id").cloned(),
            kind if kind.starts_with("exec.") => break event,
            _ => {}
        }
    };
    assert_eq!(ended.kind, "exec.completed");
    assert_eq!(ended.data.get("exec_id"), started.as_ref());
    assert_eq!(ended.data["outcome"], "canceled");
}

#[tokio::test]
async fn an_empty_line_is_a_program_that_does_nothing() {
    let plane = Plane::start().await;
    let (status, body) = exec(&plane, &json!({})).await;
    assert_eq!((status, &body["exit_code"]), (StatusCode::OK, &json!(0)), "{body}");
}
