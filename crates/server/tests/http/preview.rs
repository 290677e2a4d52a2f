//! The preview gateway, against applications that listen in the in-memory provider.

use futures::{SinkExt, StreamExt};
use provider::memory::CLOSED_PORT;
use reqwest::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::mpsc::Receiver;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::plane::{Plane, assert_error};

/// Reads a request's head.
async fn head(stream: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Takes one connection, answers its request, closes it, and returns the request's head.
pub async fn answer(connections: &mut Receiver<DuplexStream>, answer: &str) -> String {
    let mut stream = connections.recv().await.unwrap();
    let head = head(&mut stream).await;
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    head
}

#[tokio::test]
async fn a_request_and_its_answer_pass_unchanged_but_for_the_connection() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let mut connections = plane.provider.listen(3000);
    let host = format!("3000-{id}.localhost:{}", plane.address.port());
    let request = format!(
        "GET //a%2Fb/../c?x=%20 HTTP/1.1\r\nHost: {host}\r\nConnection: close, X-Hop\r\n\
         X-Hop: 1\r\nX-Forwarded-For: 6.6.6.6\r\nX-API-Key: k\r\nAuthorization: Basic app\r\n\
         Cookie: a=b\r\n\r\n"
    );
    let call = async {
        let mut stream = TcpStream::connect(plane.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let app = "HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\nKeep-Alive: 5\r\n\
               X-App: yes\r\nContent-Length: 2\r\n\r\nhi";
    let (back, head) = tokio::join!(call, answer(&mut connections, app));
    assert!(head.starts_with("GET //a%2Fb/../c?x=%20 HTTP/1.1\r\n"), "{head}");
    let head = head.to_lowercase();
    for kept in [
        &format!("\r\nhost: {host}\r\n"),
        "\r\nx-forwarded-for: 127.0.0.1\r\n",
        "\r\nx-forwarded-proto: http\r\n",
        &format!("\r\nx-forwarded-host: {host}\r\n"),
        "\r\nauthorization: basic app\r\n",
        "\r\ncookie: a=b\r\n",
    ] {
        assert!(head.contains(kept), "{kept:?} in {head}");
    }
    for removed in ["x-hop", "connection:", "x-api-key", "6.6.6.6"] {
        assert!(!head.contains(removed), "{removed} in {head}");
    }
    assert!(back.starts_with("HTTP/1.1 302 "), "{back}");
    assert!(back.to_lowercase().contains("x-app: yes") && back.ends_with("hi"), "{back}");
    assert!(!back.to_lowercase().contains("keep-alive: 5"), "{back}");
}

#[tokio::test]
async fn bodies_are_streamed_both_ways() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let mut connections = plane.provider.listen(8080);
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<&str, std::io::Error>>(1);
    let body = tokio_stream_of(receiver);
    let request = plane.http.post(format!("http://{}/up", plane.address));
    let request = request.header("host", format!("8080-{id}.localhost"));
    let call = request.body(reqwest::Body::wrap_stream(body)).send();
    let app = async {
        let mut stream = connections.recv().await.unwrap();
        let head = head(&mut stream).await.to_lowercase();
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        sender.send(Ok("one")).await.unwrap();
        let mut chunk = [0; 8];
        stream.read_exact(&mut chunk).await.unwrap();
        assert_eq!(&chunk, b"3\r\none\r\n");
        drop(sender);
        let mut end = [0; 5];
        stream.read_exact(&mut end).await.unwrap();
        assert_eq!(&end, b"0\r\n\r\n");
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        stream.write_all(b"4\r\ndown\r\n").await.unwrap();
        stream
    };
    let (response, mut stream) = tokio::join!(call, app);
    let mut response = response.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "down");
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert!(response.chunk().await.unwrap().is_none());
}

fn tokio_stream_of<T: Send + 'static>(
    receiver: tokio::sync::mpsc::Receiver<T>,
) -> impl futures::Stream<Item = T> + Send {
    futures::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|item| (item, receiver))
    })
}

#[tokio::test]
async fn a_websocket_is_tunnelled_both_ways() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let mut connections = plane.provider.listen(5173);
    let app = tokio::spawn(async move {
        let stream = connections.recv().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() {
                socket.send(message).await.unwrap();
            }
        }
    });
    let url = format!("ws://5173-{id}.localhost:{}/hmr", plane.address.port());
    let stream = TcpStream::connect(plane.address).await.unwrap();
    let request = url.into_client_request().unwrap();
    let (mut socket, answer) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    for text in ["one", "two"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    socket.close(None).await.unwrap();
    app.await.unwrap();
}

#[tokio::test]
async fn a_port_that_nothing_listens_on_is_a_page_or_an_error_body() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let url = format!("http://{}/", plane.address);
    let get = |accept: &'static str| {
        let request = plane.http.get(&url).header("host", format!("{CLOSED_PORT}-{id}.localhost"));
        request.header("accept", accept).send()
    };
    let response = get("text/html,*/*").await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(response.text().await.unwrap().contains("nothing listens on port 9"));
    let response = get("application/json").await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_error(&response.json().await.unwrap(), "port_closed");
}

#[tokio::test]
async fn an_application_that_hangs_up_is_a_bad_gateway() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let mut connections = plane.provider.listen(3000);
    let request = plane.http.get(format!("http://{}/", plane.address));
    let call = request.header("host", format!("3000-{id}.localhost")).send();
    let (response, _) = tokio::join!(call, answer(&mut connections, ""));
    let response = response.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_error(&response.json().await.unwrap(), "port_closed");
}

#[tokio::test]
async fn a_preview_host_never_reaches_the_api() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    for (host, reason) in [
        ("3000-sb-aaaaaaaaaaaaaaaaaaaa.localhost".to_owned(), "sandbox_not_found"),
        (format!("03000-{id}.localhost"), "route_not_found"),
        (format!("3000-{id}.localhost."), "route_not_found"),
        (format!("3000-{}.localhost", id.to_uppercase()), "route_not_found"),
        (format!("3000-{id}.elsewhere.example"), "route_not_found"),
    ] {
        let response =
            plane.http.get(plane.url("/sandboxes")).header("host", &host).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{host}");
        assert_error(&response.json().await.unwrap(), reason);
    }
}
