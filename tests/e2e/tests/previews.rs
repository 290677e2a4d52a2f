//! Ports in a sandbox, reached by name through the server's own port.

#[expect(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use support::{World, eventually, output, sh, spawn, write};
use testkit::Server;

/// One plain HTTP request with a host of our choice; the whole answer as text.
fn get(server: &Server, host: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("the server answers");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the server answers");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server answers");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_page_inside_is_a_page_outside() {
    let world = World::new();
    let server = Server::start(&world.data_dir());
    let client = server.client();
    let id = spawn(&client).await.id;
    let host = format!("8000-{id}.localhost:{}", server.port());
    let closed = get(&server, &host, "/");
    assert!(closed.starts_with("HTTP/1.1 502"), "{closed}");
    output(
        &client,
        &id,
        "echo inside > index.html; setsid python3 -m http.server 8000 --bind 127.0.0.1 >/dev/null 2>&1 &",
    )
    .await;
    let open = async || {
        get(&server, &host, "/").starts_with("HTTP/1.0 200")
            || get(&server, &host, "/").starts_with("HTTP/1.1 200")
    };
    eventually("the port opens", open).await;
    assert!(get(&server, &host, "/").ends_with("inside\n"));
    for bad in [
        format!("08000-{id}.localhost"),
        format!("+8000-{id}.localhost"),
        format!("8000-{}.localhost", id.to_uppercase()),
        format!("8000-{id}.localhost."),
        format!("65536-{id}.localhost"),
        format!("0-{id}.localhost"),
    ] {
        let answer = get(&server, &bad, "/");
        assert!(answer.starts_with("HTTP/1.1 4"), "{bad}: {answer}");
    }
    client.destroy(&id).await.unwrap();
    let gone = get(&server, &host, "/");
    assert!(gone.starts_with("HTTP/1.1 404"), "{gone}");
}

#[tokio::test]
async fn a_web_socket_passes_through() {
    use futures::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

    let world = World::new();
    let server = Server::start(&world.data_dir());
    let client = server.client();
    let id = spawn(&client).await.id;
    let echo = r#"
import base64, hashlib, socket
s = socket.create_server(("127.0.0.1", 9001))
while True:
    c, _ = s.accept()
    head = b""
    while b"\r\n\r\n" not in head: head += c.recv(4096)
    key = [l.split(b": ")[1] for l in head.split(b"\r\n") if l.lower().startswith(b"sec-websocket-key")][0]
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    f = c.recv(4096)
    n = f[1] & 127
    text = bytes(b ^ f[2 + i % 4] for i, b in enumerate(f[6:6 + n]))
    c.sendall(bytes([0x81, n]) + text)
    c.recv(4096)
    c.close()
"#;
    write(&client, &id, "/workspace/echo.py", echo).await.unwrap();
    output(&client, &id, "setsid python3 echo.py >/dev/null 2>&1 &").await;
    let listens = async || sh(&client, &id, "grep -q :2329 /proc/net/tcp").await.exit_code == 0;
    eventually("the server inside listens", listens).await;
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    let url = format!("ws://9001-{id}.localhost:{}/chat", server.port());
    let request = url.into_client_request().unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
    client.destroy(&id).await.unwrap();
}
