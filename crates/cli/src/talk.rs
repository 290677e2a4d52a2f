//! Talking to a command while it runs, at a server or in this process.

use std::sync::Arc;

use api::client::{ClientError, ExecChunk, ExecMessage, ExecReceiver, ExecSender};
use api::{ErrorBody, TtySize};
use bytes::Bytes;
use engine::{Caller, Engine};
use futures::stream::{self, StreamExt as _};
use model::{ExecId, Failure, Reason, SandboxId};

use crate::failed::Failed;
use crate::plane::Chunks;

/// A way to say something to a command.
pub enum Talk {
    /// Over the WebSocket that the command's output comes from.
    Socket(ExecSender),
    /// To the engine of this process.
    Engine(Arc<Engine>, SandboxId, ExecId),
}

impl Talk {
    /// Writes to its standard input.
    pub async fn stdin(&mut self, bytes: Bytes) -> Result<(), Failed> {
        match self {
            Self::Socket(sender) => heard(sender.stdin(bytes).await),
            Self::Engine(engine, id, exec) => write(engine, (id, exec), (bytes, false)).await,
        }
    }

    /// Ends its standard input.
    pub async fn close_stdin(&mut self) -> Result<(), Failed> {
        match self {
            Self::Socket(sender) => heard(sender.close_stdin().await),
            Self::Engine(engine, id, exec) => write(engine, (id, exec), (Bytes::new(), true)).await,
        }
    }

    /// Tells it the size of its terminal.
    pub async fn resize(&mut self, size: TtySize) -> Result<(), Failed> {
        match self {
            Self::Socket(sender) => heard(sender.resize(size).await),
            Self::Engine(engine, id, exec) => {
                let size = model::TtySize { cols: size.cols, rows: size.rows };
                let told = engine.exec_resize(&Caller::default(), (id, exec), size).await;
                unless_over(told)
            }
        }
    }
}

async fn write(
    engine: &Engine,
    which: (&SandboxId, &ExecId),
    (bytes, close): (Bytes, bool),
) -> Result<(), Failed> {
    let body = stream::iter([Ok(bytes)]).boxed();
    let written = engine.exec_stdin(&Caller::default(), which, (body, close)).await;
    unless_over(written.map(drop))
}

/// A command that has ended, or reads no more, need not be told anything; its end comes with its
/// output.
fn unless_over(told: Result<(), Failure>) -> Result<(), Failed> {
    match told {
        Err(failure) if !is_over(failure.reason.word()) => Err(failure.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn is_over(reason: &str) -> bool {
    [Reason::ExecNotRunning, Reason::StdinClosed].iter().any(|over| over.word() == reason)
}

/// A socket that is cut ends the output as well, which then says why.
fn heard(said: Result<(), ClientError>) -> Result<(), Failed> {
    match said {
        Err(ClientError::Stream { .. }) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What comes back over a socket, as the output of a command.
pub fn chunks(receiver: ExecReceiver) -> Chunks {
    let chunks = stream::unfold((receiver, false), |(mut receiver, mut started)| async move {
        loop {
            let chunk = match receiver.next().await? {
                Ok(ExecMessage::Started(_)) => {
                    started = true;
                    continue;
                }
                Ok(ExecMessage::Refused(error)) if started && is_over(&error.reason) => continue,
                Ok(ExecMessage::Refused(error)) => Err(Failed::from(ErrorBody::clone(&error))),
                Ok(ExecMessage::Stdout(bytes)) => Ok(ExecChunk::Stdout(bytes)),
                Ok(ExecMessage::Stderr(bytes)) => Ok(ExecChunk::Stderr(bytes)),
                Ok(ExecMessage::Exit(exit)) => Ok(ExecChunk::Exit(exit)),
                Err(error) => Err(Failed::from(error)),
            };
            return Some((chunk, (receiver, started)));
        }
    });
    chunks.boxed()
}
