//! Programs that may outlive the call that started them, and what is said to them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::ErrorBody;
use crate::exec::{Encoding, ExecExit, Usage};

/// A program that may outlive the call that started it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Exec {
    /// Names it.
    pub exec_id: String,
    /// Where it runs.
    pub sandbox_id: String,
    /// `running` or `ended`.
    pub state: String,
    /// Whether it was started in the background.
    pub background: bool,
    /// Whether it has a terminal.
    pub tty: bool,
    /// On whose behalf it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<String>,
    /// When it was started.
    pub started_at: String,
    /// When its end was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// How it ended, as in a result in one piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// As in a result in one piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The number of the signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Why it never ran, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// From start to end: `1.5ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Bytes that it wrote to standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout_bytes: Option<u64>,
    /// Bytes that it wrote to standard error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr_bytes: Option<u64>,
    /// What it used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// How much of what was sent to a program its standard input has taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StdinTaken {
    /// Always `written`.
    pub status: String,
    /// Bytes: all that were sent.
    pub bytes: u64,
}

/// A signal to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalRequest {
    /// A name, with or without `SIG`, or a number from 1 to 64: `TERM`, `SIGINT`, `9`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<Signal>,
}

/// A signal's name or number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Signal {
    /// Its number.
    Number(i32),
    /// Its name, or its number as text.
    Name(String),
}

/// What a client says over a WebSocket once the program runs. Its first message is an
/// [`ExecRequest`](crate::ExecRequest) with `"type":"start"`; binary messages are standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ExecInput {
    /// Bytes for standard input.
    Stdin {
        /// The bytes.
        data: String,
        /// How they are written. Default: `utf8`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        encoding: Option<Encoding>,
    },
    /// The end of standard input.
    CloseStdin,
    /// Another size of the terminal.
    Resize {
        /// Characters in a line.
        cols: u16,
        /// Lines.
        rows: u16,
    },
    /// A signal.
    Signal {
        /// Its name or number.
        signal: Signal,
    },
}

/// What the server says over a WebSocket, besides binary messages: output, whose first byte is 1
/// for standard output and 2 for standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ExecOutput {
    /// The program runs.
    Started {
        /// Names it.
        exec_id: String,
    },
    /// It wrote to standard output; with an `encoding` in the start message only.
    Stdout {
        /// What it wrote.
        data: String,
    },
    /// It wrote to standard error; with an `encoding` in the start message only.
    Stderr {
        /// What it wrote.
        data: String,
    },
    /// It ended, and nothing of its output is missing. The last message.
    Exit(Box<ExecExit>),
    /// A message was refused, or the program could not be started or followed.
    Error {
        /// What is wrong.
        error: ErrorBody,
    },
}

/// The first byte of a binary message with standard output.
pub const STDOUT_MARK: u8 = 1;

/// The first byte of a binary message with standard error.
pub const STDERR_MARK: u8 = 2;
