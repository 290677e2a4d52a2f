//! Listening, foreign web pages, and stopping.

use std::net::{Ipv4Addr, SocketAddr};

use provider::MemoryProvider;
use reqwest::{Method, StatusCode};
use stacyvm_server::{BindError, Server, ServerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::plane::{Plane, assert_error, engine, options, shell};

#[tokio::test]
async fn an_address_that_others_reach_needs_a_key() {
    let engine = engine(&MemoryProvider::default()).await;
    let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let error = Server::bind(ServerOptions { listen, ..options() }, engine).await.unwrap_err();
    assert!(matches!(error, BindError::Unprotected(_)));
    assert!(error.to_string().contains("auth.api_key"), "{error}");
}

#[tokio::test]
async fn a_taken_port_is_said_so() {
    let plane = Plane::start().await;
    let options = ServerOptions { listen: plane.address, ..options() };
    let error = Server::bind(options, plane.engine.clone()).await.unwrap_err();
    assert!(matches!(error, BindError::Taken(address) if address == plane.address));
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused() {
    let engine = engine(&MemoryProvider::default()).await;
    for bad in [
        ServerOptions { preview_domain: "not a domain".into(), ..options() },
        ServerOptions { cors_allowed_origins: vec!["localhost".into()], ..options() },
        ServerOptions { api_key: Some("".into()), ..options() },
    ] {
        let error = Server::bind(bad, engine.clone()).await.unwrap_err();
        assert!(!error.hint().is_empty());
    }
}

#[tokio::test]
async fn foreign_pages_and_foreign_names_are_refused() {
    let plane = Plane::start().await;
    let own = format!("http://{}", plane.address);
    let preview = format!("http://3000-sb-aaaaaaaaaaaaaaaaaaaa.localhost:{}", plane.address.port());
    for (header, value, status) in [
        ("origin", own.as_str(), 200),
        ("origin", "http://evil.example", 403),
        ("origin", preview.as_str(), 403),
        ("origin", "null", 403),
        ("host", "evil.example", 403),
        ("host", "localhost", 200),
        ("host", "api.localhost:7423", 200),
    ] {
        let request = plane.http.get(plane.url("/sandboxes")).header(header, value);
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{header}: {value}");
        if status == 403 {
            assert_error(&response.json().await.unwrap(), "origin_forbidden");
        }
    }
}

#[tokio::test]
async fn named_origins_may_call_and_ask_before_they_have_a_key() {
    let plane = Plane::start_with(ServerOptions {
        cors_allowed_origins: vec!["http://app.example".into()],
        api_key: Some("key".into()),
        ..options()
    })
    .await;
    let ask = |origin: &'static str| {
        let request = plane.http.request(Method::OPTIONS, plane.url("/sandboxes"));
        request.header("origin", origin).header("access-control-request-method", "POST").send()
    };
    let response = ask("http://app.example").await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["access-control-allow-origin"], "http://app.example");
    let response = ask("http://evil.example").await.unwrap();
    assert!(!response.headers().contains_key("access-control-allow-origin"));
    let request = plane.http.get(plane.url("/sandboxes")).header("origin", "http://app.example");
    let response = request.header("x-api-key", "key").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["access-control-allow-origin"], "http://app.example");
}

async fn raw(plane: &Plane, request: &str) -> String {
    let mut stream = TcpStream::connect(plane.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_host_that_is_not_clear_is_refused() {
    let plane = Plane::start().await;
    for request in [
        "GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n",
        "GET http://localhost/api/v1/health HTTP/1.1\r\nHost: other\r\n",
        "GET /api/v1/health HTTP/1.1\r\n",
    ] {
        let answer = raw(&plane, &format!("{request}Connection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request}: {answer}");
    }
    let answer = raw(&plane, "GET /api/v1/health HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
}

#[tokio::test]
async fn a_head_over_its_limit_is_refused() {
    let plane = Plane::start().await;
    let header = "x".repeat(70_000);
    let request = format!("GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\nX: {header}\r\n\r\n");
    let answer = raw(&plane, &request).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_request_under_way_is_finished_before_the_server_stops() {
    let mut plane = Plane::start_with(ServerOptions {
        shutdown_grace: std::time::Duration::from_secs(10),
        ..options()
    })
    .await;
    let id = plane.spawn().await;
    let request = shell("sleep 0.2; echo done");
    let mut events = plane.engine.event_signal();
    let before = *events.borrow_and_update();
    let stop = plane.stop.clone();
    let (result, ()) = tokio::join!(plane.client.exec(&id, &request), async {
        events.wait_for(|seq| *seq > before).await.unwrap();
        stop.cancel();
    });
    assert_eq!(result.unwrap().stdout, "done\n");
    (&mut plane.served).await.unwrap();
}

#[tokio::test]
async fn what_does_not_end_is_cut_after_the_grace() {
    let mut plane = Plane::start().await;
    let id = plane.spawn().await;
    let mut stream = plane.client.exec_stream(&id, &shell("echo a; sleep 600")).await.unwrap();
    assert!(futures::StreamExt::next(&mut stream).await.unwrap().is_ok());
    plane.stop.cancel();
    (&mut plane.served).await.unwrap();
}

#[tokio::test]
async fn no_timeout_of_the_server_cuts_a_running_stream() {
    let short = std::time::Duration::from_millis(50);
    let options = ServerOptions { head_timeout: short, heartbeat: short * 100, ..options() };
    let plane = Plane::start_with(options).await;
    let id = plane.spawn().await;
    let stream = plane.client.exec_stream(&id, &shell("sleep 0.5; echo done")).await.unwrap();
    let chunks: Vec<_> = futures::StreamExt::collect(stream).await;
    assert!(chunks.iter().all(Result::is_ok), "{chunks:?}");
    let Some(Ok(api::client::ExecChunk::Exit(exit))) = chunks.last() else { panic!("{chunks:?}") };
    assert_eq!(exit.outcome, "exited");
}

#[tokio::test]
async fn a_connection_that_sends_no_head_is_closed() {
    let head_timeout = std::time::Duration::from_millis(50);
    let plane = Plane::start_with(ServerOptions { head_timeout, ..options() }).await;
    for beginning in ["", "GET /api/v1/health HTTP/1.1\r\nHost: loc"] {
        let mut stream = TcpStream::connect(plane.address).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
}
