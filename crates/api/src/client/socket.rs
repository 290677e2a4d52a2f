//! A program over a WebSocket: both directions at once.

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use reqwest::header::UPGRADE;
use reqwest::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION};
use reqwest::{Method, Upgraded};
use serde_json::Value;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::{self, Message, protocol::Role};

use crate::error::ErrorBody;
use crate::exec::{ExecExit, ExecRequest, TtySize};
use crate::execs::{ExecInput, ExecOutput, STDERR_MARK, STDOUT_MARK, Signal};

use super::{Client, ClientError};

type Socket = WebSocketStream<Upgraded>;

/// What the server says about the program.
#[derive(Clone, Debug, PartialEq)]
pub enum ExecMessage {
    /// It runs, under this id.
    Started(String),
    /// It wrote to standard output.
    Stdout(Bytes),
    /// It wrote to standard error.
    Stderr(Bytes),
    /// Something that was said to it was refused, or it could not be started or followed.
    Refused(Box<ErrorBody>),
    /// It ended; nothing comes after this.
    Exit(Box<ExecExit>),
}

/// Says things to the program.
#[derive(Debug)]
pub struct ExecSender(SplitSink<Socket, Message>);

/// Hears of the program.
#[derive(Debug)]
pub struct ExecReceiver(SplitStream<Socket>);

impl Client {
    /// Starts a program over a WebSocket.
    pub async fn exec_socket(
        &self,
        id: &str,
        request: &ExecRequest,
    ) -> Result<(ExecSender, ExecReceiver), ClientError> {
        let key = generate_key();
        let get = self
            .request(Method::GET, self.url(&["sandboxes", id, "exec", "ws"], &[]))
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, &key);
        let response = self.send(get).await?;
        let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT);
        if accepted
            .is_none_or(|accept| accept.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes())
        {
            return Err(ClientError::Stream { problem: "the server opened no WebSocket" });
        }
        let upgraded = response.upgrade().await.map_err(|source| self.transport(source))?;
        let socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
        let (mut sender, receiver) = socket.split();
        let mut start = serde_json::to_value(request).map_err(ClientError::Answer)?;
        if let Value::Object(fields) = &mut start {
            fields.insert("type".to_owned(), Value::from("start"));
        }
        sender.send(Message::text(start.to_string())).await.map_err(broken)?;
        Ok((ExecSender(sender), ExecReceiver(receiver)))
    }
}

impl ExecSender {
    /// Writes to standard input.
    pub async fn stdin(&mut self, bytes: Bytes) -> Result<(), ClientError> {
        self.0.send(Message::Binary(bytes)).await.map_err(broken)
    }

    /// Ends standard input.
    pub async fn close_stdin(&mut self) -> Result<(), ClientError> {
        self.say(&ExecInput::CloseStdin).await
    }

    /// Sets the size of the terminal.
    pub async fn resize(&mut self, size: TtySize) -> Result<(), ClientError> {
        self.say(&ExecInput::Resize { cols: size.cols, rows: size.rows }).await
    }

    /// Sends a signal.
    pub async fn signal(&mut self, signal: Signal) -> Result<(), ClientError> {
        self.say(&ExecInput::Signal { signal }).await
    }

    async fn say(&mut self, input: &ExecInput) -> Result<(), ClientError> {
        let text = serde_json::to_string(input).map_err(ClientError::Answer)?;
        self.0.send(Message::text(text)).await.map_err(broken)
    }
}

impl ExecReceiver {
    /// The next message; nothing once the server has closed the socket.
    pub async fn next(&mut self) -> Option<Result<ExecMessage, ClientError>> {
        loop {
            return Some(match self.0.next().await? {
                Ok(Message::Binary(bytes)) => output(&bytes),
                Ok(Message::Text(text)) => said(text.as_str()),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
                Ok(Message::Close(_)) => return None,
                Err(error) => Err(broken(error)),
            });
        }
    }
}

fn output(bytes: &Bytes) -> Result<ExecMessage, ClientError> {
    match bytes.first() {
        Some(&STDOUT_MARK) => Ok(ExecMessage::Stdout(bytes.slice(1..))),
        Some(&STDERR_MARK) => Ok(ExecMessage::Stderr(bytes.slice(1..))),
        Some(_) | None => Err(ClientError::Stream { problem: "a message is of no known kind" }),
    }
}

fn said(text: &str) -> Result<ExecMessage, ClientError> {
    Ok(match serde_json::from_str(text).map_err(ClientError::Answer)? {
        ExecOutput::Started { exec_id } => ExecMessage::Started(exec_id),
        ExecOutput::Stdout { data } => ExecMessage::Stdout(data.into()),
        ExecOutput::Stderr { data } => ExecMessage::Stderr(data.into()),
        ExecOutput::Exit(exit) => ExecMessage::Exit(exit),
        ExecOutput::Error { error } => ExecMessage::Refused(Box::new(error)),
    })
}

fn broken(_: tungstenite::Error) -> ClientError {
    ClientError::Stream { problem: "the WebSocket was cut" }
}
