//! A program over a WebSocket: its output to the client, as fast as that takes it, and what the
//! client says to the program. [`crate::routes::exec::ws`] opens it.
//!
//! Three halves run beside each other, so that none holds up another: one sends, one receives, one
//! feeds standard input. The session is over with the first of them that is.

use std::io;
use std::time::Duration;

use api::execs::{STDERR_MARK, STDOUT_MARK};
use api::{Encoding, ExecInput, ExecOutput, ExecRequest};
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use engine::{Caller, ExecEvent, NewExec, RunningExec};
use futures::stream::{self, SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use model::{ExecId, Failure, Limit, Reason, SandboxId};
use serde_json::Value;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite;

use crate::convert::{self, Waits};
use crate::envelope::RequestId;
use crate::error::body;
use crate::extract::parse_object;
use crate::ndjson::exit_line;
use crate::signal;
use crate::state::{Peer, Plane};
use crate::text::Encoder;

/// The largest message in either direction: what a pipe holds many times over.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// How long a client may take to say what is to be started.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may take to take one message before it is given up.
const SEND_TIMEOUT: Duration = Duration::from_mins(1);

/// Messages for standard input that wait for the program before the client has to.
const INPUTS: usize = 16;

/// Answers to messages that wait to be sent.
const REPLIES: usize = 16;

type Outgoing = SplitSink<WebSocket, Message>;

/// One WebSocket, and for whom it is.
pub(crate) struct Session {
    pub(crate) plane: Plane,
    pub(crate) caller: Caller,
    pub(crate) id: SandboxId,
    pub(crate) request_id: RequestId,
    pub(crate) peer: Option<Peer>,
}

/// Waits until the client has closed its side of the connection, also while what it sent before is
/// not taken: a program that does not read holds that up, and is to end with its client.
async fn hung_up(peer: Option<&Peer>) {
    let twin = peer.and_then(|peer| peer.socket.as_ref()?.try_clone().ok());
    let twin = twin.and_then(|twin| TcpStream::from_std(twin.into()).ok());
    if let Some(twin) = twin {
        while let Ok(ready) = twin.ready(Interest::READABLE).await {
            if ready.is_read_closed() {
                return;
            }
            // The next look waits for the next news, with what is there left where it is.
            let looked = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = twin.try_io(Interest::READABLE, looked);
        }
    }
    // Without a descriptor for it the client's end is found when its messages are.
    std::future::pending::<()>().await;
}

/// Bytes for standard input, or its end.
enum Input {
    Bytes(Bytes),
    End,
}

impl Session {
    /// Serves the socket to its end, or the server's.
    pub(crate) async fn run(self, socket: WebSocket) {
        let stopping = self.plane.stopping.clone();
        let (mut outgoing, incoming) = socket.split();
        let serving = Box::pin(self.serve(&mut outgoing, incoming));
        let served = stopping.run_until_cancelled(serving).await;
        let (code, reason) = match served {
            Some(Ok(())) => (close_code::NORMAL, ""),
            Some(Err(failure)) => {
                let error = body(&failure, self.request_id.as_str());
                let _ = send(&mut outgoing, text(&ExecOutput::Error { error })).await;
                let over = failure.reason == Reason::TooLarge;
                (if over { close_code::SIZE } else { close_code::POLICY }, failure.reason.word())
            }
            None => (close_code::AWAY, "the server is shutting down"),
        };
        let close = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        // The client may have gone first.
        let _ = send(&mut outgoing, Message::Close(Some(close))).await;
    }

    async fn serve(
        &self,
        outgoing: &mut Outgoing,
        mut incoming: SplitStream<WebSocket>,
    ) -> Result<(), Failure> {
        let Some((new, encoding)) = self.started(&mut incoming).await? else { return Ok(()) };
        let ends_with_client = new.kill_on_disconnect;
        let exec = self.plane.engine.exec(&self.caller, &self.id, new).await?;
        let exec_id = exec.id.clone();
        let started = ExecOutput::Started { exec_id: exec_id.to_string() };
        if send(outgoing, text(&started)).await.is_err() {
            return Ok(());
        }
        let (inputs, queue) = mpsc::channel(INPUTS);
        let (replies, answers) = mpsc::channel(REPLIES);
        let heartbeat = self.plane.settings.heartbeat;
        let sending = Sender {
            outgoing,
            answers,
            encoders: encoding.map(encoders),
            heartbeat,
            request_id: self.request_id.as_str(),
        };
        tokio::select! {
            ended = sending.run(exec) => ended,
            () = self.receive(incoming, (&exec_id, inputs), &replies) => Ok(()),
            never = self.feed(&exec_id, queue, &replies) => match never {},
            () = hung_up(self.peer.as_ref()), if ends_with_client => Ok(()),
        }
    }

    /// What the first message says is to be started; nothing if the client leaves without one.
    async fn started(
        &self,
        incoming: &mut SplitStream<WebSocket>,
    ) -> Result<Option<(NewExec, Option<Encoding>)>, Failure> {
        let late = |_| {
            let message = "invalid input: no start message came within 30s";
            Failure::new(Reason::MissingField, message).detail("field", "type")
        };
        loop {
            let message = timeout(START_TIMEOUT, incoming.next()).await.map_err(late)?;
            match message {
                Some(Ok(Message::Text(text))) => return start(text.as_str()).map(Some),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Binary(_))) => {
                    let message = "invalid input: the first message has to start a program";
                    return Err(Failure::new(Reason::InvalidBody, message)
                        .hint(r#"send {"type":"start","command":"..."} as text first"#));
                }
                Some(Err(error)) => {
                    return if is_too_large(error) { Err(too_large()) } else { Ok(None) };
                }
                Some(Ok(Message::Close(_))) | None => return Ok(None),
            }
        }
    }

    /// Does what the client says until it leaves.
    async fn receive(
        &self,
        mut incoming: SplitStream<WebSocket>,
        (exec, inputs): (&ExecId, mpsc::Sender<Input>),
        replies: &mpsc::Sender<Failure>,
    ) {
        while let Some(message) = incoming.next().await {
            let message = match message {
                Ok(message) => message,
                Err(error) => {
                    if is_too_large(error) {
                        let _ = replies.send(too_large()).await;
                        // What was refused is told by the sender; the rest cannot be read.
                        std::future::pending::<()>().await;
                    }
                    return;
                }
            };
            let done = match message {
                Message::Binary(bytes) => input(&inputs, Input::Bytes(bytes)).await,
                Message::Text(text) => self.obey(text.as_str(), (exec, &inputs)).await,
                Message::Ping(_) | Message::Pong(_) => Ok(()),
                Message::Close(_) => return,
            };
            if let Err(failure) = done
                && replies.send(failure).await.is_err()
            {
                return;
            }
        }
    }

    async fn obey(
        &self,
        text: &str,
        (exec, inputs): (&ExecId, &mpsc::Sender<Input>),
    ) -> Result<(), Failure> {
        let which = (&self.id, exec);
        match parse_object(text.as_bytes())? {
            ExecInput::Stdin { data, encoding } => {
                let bytes = match encoding.unwrap_or_default() {
                    Encoding::Utf8 => Bytes::from(data),
                    Encoding::Base64 => Bytes::from(STANDARD.decode(data).map_err(|error| {
                        Failure::invalid_field("data", format_args!("not base64: {error}"))
                    })?),
                };
                input(inputs, Input::Bytes(bytes)).await
            }
            ExecInput::CloseStdin => input(inputs, Input::End).await,
            ExecInput::Resize { cols, rows } => {
                let size = convert::tty_size(api::TtySize { cols, rows });
                self.plane.engine.exec_resize(&self.caller, which, size).await
            }
            ExecInput::Signal { signal } => {
                let signal = signal::number(&signal)?;
                self.plane.engine.exec_signal(&self.caller, which, signal).await
            }
        }
    }

    /// Writes to standard input in the order of the messages. Ends with the session.
    async fn feed(
        &self,
        exec: &ExecId,
        mut queue: mpsc::Receiver<Input>,
        replies: &mpsc::Sender<Failure>,
    ) -> std::convert::Infallible {
        while let Some(first) = queue.recv().await {
            let (bytes, close) = gathered(first, &mut queue);
            let body = stream::iter([Ok(bytes)]).boxed();
            let which = (&self.id, exec);
            let fed = self.plane.engine.exec_stdin(&self.caller, which, (body, close)).await;
            if let Err(failure) = fed {
                // Nobody is left to be told once the sender has ended.
                let _ = replies.send(failure).await;
            }
        }
        std::future::pending().await
    }
}

/// What waits in the queue as one piece, so that many small messages are one write.
fn gathered(first: Input, queue: &mut mpsc::Receiver<Input>) -> (Bytes, bool) {
    let mut bytes = match first {
        Input::Bytes(bytes) => bytes,
        Input::End => return (Bytes::new(), true),
    };
    let mut joined = BytesMut::new();
    while let Ok(next) = queue.try_recv() {
        match next {
            Input::Bytes(more) => {
                if joined.is_empty() {
                    joined.extend_from_slice(&bytes);
                }
                joined.extend_from_slice(&more);
            }
            Input::End => {
                let all = if joined.is_empty() { bytes } else { joined.freeze() };
                return (all, true);
            }
        }
    }
    if !joined.is_empty() {
        bytes = joined.freeze();
    }
    (bytes, false)
}

async fn input(inputs: &mpsc::Sender<Input>, input: Input) -> Result<(), Failure> {
    inputs.send(input).await.map_err(|_| Failure::internal("the input has no reader"))
}

/// The program of a start message, and how its output is to be written into JSON, if at all.
fn start(text: &str) -> Result<(NewExec, Option<Encoding>), Failure> {
    let mut fields: serde_json::Map<String, Value> = parse_object(text.as_bytes())?;
    if fields.remove("type").as_ref().and_then(Value::as_str) != Some("start") {
        return Err(Failure::invalid_field("type", "the first message has to be a start")
            .hint(r#"send {"type":"start","command":"..."}"#));
    }
    let rest = serde_json::to_vec(&fields).map_err(Failure::internal)?;
    let request: ExecRequest = parse_object(&rest)?;
    for (field, given) in [("stream", request.stream), ("background", request.background)] {
        if given == Some(true) {
            let problem = "a WebSocket streams by itself, and is not in the background";
            return Err(Failure::invalid_field(field, problem).hint("leave it out"));
        }
    }
    let encoding = request.encoding;
    Ok((convert::new_exec(request, Waits::OnSocket)?, encoding))
}

/// Whether a message was refused for its size.
fn is_too_large(error: axum::Error) -> bool {
    let error = error.into_inner().downcast::<tungstenite::Error>();
    error.is_ok_and(|error| matches!(*error, tungstenite::Error::Capacity(_)))
}

fn too_large() -> Failure {
    let message = format!("a message is over the limit of {MESSAGE_BYTES_MAX} bytes");
    let max = i64::try_from(MESSAGE_BYTES_MAX).unwrap_or(i64::MAX);
    Failure::over_limit(Limit::SocketMessageBytes, max, message)
}

fn encoders(encoding: Encoding) -> [Encoder; 2] {
    [Encoder::new(encoding), Encoder::new(encoding)]
}

/// The half that sends.
struct Sender<'a> {
    outgoing: &'a mut Outgoing,
    answers: mpsc::Receiver<Failure>,
    /// For standard output and standard error, when they go out as text.
    encoders: Option<[Encoder; 2]>,
    heartbeat: Duration,
    request_id: &'a str,
}

impl Sender<'_> {
    /// Sends output until the exit, which is the last, or until the client is gone.
    async fn run(mut self, mut exec: RunningExec) -> Result<(), Failure> {
        loop {
            let event = tokio::select! {
                event = timeout(self.heartbeat, exec.events.next()) => event,
                Some(failure) = self.answers.recv() => {
                    if failure.reason == Reason::TooLarge {
                        return Err(failure);
                    }
                    let error = body(&failure, self.request_id);
                    if send(self.outgoing, text(&ExecOutput::Error { error })).await.is_err() {
                        return Ok(());
                    }
                    continue;
                }
            };
            let sent = match event {
                Err(_) => send(self.outgoing, Message::Ping(Bytes::new())).await,
                Ok(Some(Ok(ExecEvent::Stdout(bytes)))) => self.output(0, &bytes).await,
                Ok(Some(Ok(ExecEvent::Stderr(bytes)))) => self.output(1, &bytes).await,
                Ok(Some(Ok(ExecEvent::Exit(exit)))) => {
                    let exit = Box::new(exit_line(&exit, exec.id.to_string()));
                    let _ = self.finish().await;
                    let _ = send(self.outgoing, text(&ExecOutput::Exit(exit))).await;
                    return Ok(());
                }
                Ok(Some(Err(failure))) => return Err(failure),
                Ok(None) => return Err(Failure::internal("the exec ended without an exit")),
            };
            if sent.is_err() {
                return Ok(());
            }
        }
    }

    async fn output(&mut self, channel: usize, bytes: &[u8]) -> Result<(), axum::Error> {
        let message = match &mut self.encoders {
            None => {
                let mark = if channel == 0 { STDOUT_MARK } else { STDERR_MARK };
                let mut marked = BytesMut::with_capacity(bytes.len() + 1);
                marked.extend_from_slice(&[mark]);
                marked.extend_from_slice(bytes);
                Message::Binary(marked.freeze())
            }
            Some(encoders) => match said(channel, encoders[channel].push(bytes)) {
                Some(message) => message,
                None => return Ok(()),
            },
        };
        send(self.outgoing, message).await
    }

    /// Sends what waited for the rest of a character.
    async fn finish(&mut self) -> Result<(), axum::Error> {
        let Some(encoders) = &mut self.encoders else { return Ok(()) };
        let rests = encoders.each_mut().map(Encoder::finish);
        for (channel, rest) in rests.into_iter().enumerate() {
            if let Some(message) = said(channel, rest) {
                send(self.outgoing, message).await?;
            }
        }
        Ok(())
    }
}

fn said(channel: usize, data: String) -> Option<Message> {
    let output = match channel {
        _ if data.is_empty() => return None,
        0 => ExecOutput::Stdout { data },
        _ => ExecOutput::Stderr { data },
    };
    Some(text(&output))
}

fn text(message: &ExecOutput) -> Message {
    let text = serde_json::to_string(message).expect("strings and numbers are JSON");
    Message::Text(text.into())
}

async fn send(outgoing: &mut Outgoing, message: Message) -> Result<(), axum::Error> {
    timeout(SEND_TIMEOUT, outgoing.send(message)).await.map_err(axum::Error::new)?
}
