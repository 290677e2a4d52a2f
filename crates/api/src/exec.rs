//! Running a program: the request, the answer in one piece, and the lines of a stream.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::ErrorBody;

/// A program to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// In mode `shell` a line for `/bin/sh -c`, which may be empty; in mode `argv` the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Arguments: in mode `shell` quoted and appended to the line, in mode `argv` passed as they
    /// are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// `shell` (the default) or `argv`, which involves no shell at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Added to the environment of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<BTreeMap<String, String>>,
    /// Where to start: an existing directory. Default: `/workspace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// After this the program and all that it started are ended: `300ms`, `1h30m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Whether to answer with one JSON object a line, as output comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// How output is written into JSON. Default: `utf8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// Whether the program is ended when the client goes away. Default: true for a call that is
    /// answered in one piece, else false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill_on_disconnect: Option<bool>,
    /// What the program reads on standard input, to its end. Without it and without `stdin` it
    /// reads nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Whether standard input is open for what is sent later: to a program in the background by
    /// its own route, over a WebSocket by messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<bool>,
    /// Whether to answer at once, with the program's id, and let it run on by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<bool>,
    /// Gives the program a terminal of this size: one output that merges both streams, and an
    /// open standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tty: Option<TtySize>,
    /// The user of the sandbox that it runs as: a name, a number, or `user:group`. Default: the
    /// image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// The size of a terminal in character cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TtySize {
    /// Characters in a line, 1 to 9999.
    pub cols: u16,
    /// Lines, 1 to 9999.
    pub rows: u16,
}

/// How bytes are written into a JSON string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As text; what is not UTF-8 becomes U+FFFD.
    #[default]
    Utf8,
    /// In base64 with padding: exact.
    Base64,
}

/// What a program used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Processor time, user and system, in milliseconds.
    pub cpu_ms: u64,
    /// The largest resident set of any one of its processes, in bytes.
    pub memory_peak_bytes: u64,
}

/// A program that has ended, with its output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecResult {
    /// The exit code as a shell would report it: 128 + n for signal n, 124 for a timeout, 126 and
    /// 127 for a program that could not be started.
    pub exit_code: i32,
    /// Standard output, at most the server's limit: the first and the last part of more.
    pub stdout: String,
    /// Standard error, limited in the same way.
    pub stderr: String,
    /// From start to end: `1.5ms`.
    pub duration: String,
    /// `exited`, `signaled`, `timed_out`, `oom_killed`, `canceled`, `sandbox_lost` or
    /// `start_failed`.
    #[serde(default)]
    pub outcome: String,
    /// The number of the signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Whether a part of the output is missing here.
    #[serde(default)]
    pub truncated: bool,
    /// Bytes that it wrote to standard output.
    #[serde(default)]
    pub stdout_bytes: u64,
    /// Bytes that it wrote to standard error.
    #[serde(default)]
    pub stderr_bytes: u64,
    /// What it used.
    #[serde(default)]
    pub usage: Usage,
    /// Names the execution.
    #[serde(default)]
    pub exec_id: String,
}

/// One line of a stream. Every line has `stream` and `data`; the last one is the exit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "stream", rename_all = "snake_case")]
pub enum ExecLine {
    /// The program wrote to standard output.
    Stdout {
        /// What it wrote, in the encoding that was asked for.
        data: String,
        /// Counts the output lines of the stream, from 1.
        #[serde(default)]
        seq: u64,
        /// Bytes of standard output up to the end of this line: where another request for the
        /// output goes on. Only where output is asked for by its offset.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<u64>,
    },
    /// The program wrote to standard error.
    Stderr {
        /// What it wrote, in the encoding that was asked for.
        data: String,
        /// Counts the output lines of the stream, from 1.
        #[serde(default)]
        seq: u64,
        /// Bytes of standard error up to the end of this line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<u64>,
    },
    /// Output that was asked for is no longer kept: the program wrote more than the sandbox keeps
    /// before it was taken.
    Gap {
        /// Always empty.
        data: String,
        /// `stdout` or `stderr`.
        of: String,
        /// How many bytes are missing.
        lost: u64,
    },
    /// Nothing happened for a while; keeps proxies from closing the connection.
    Heartbeat {
        /// Always empty.
        data: String,
    },
    /// The program ended, and nothing of its output is missing.
    Exit(Box<ExecExit>),
}

/// The last line of a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExecExit {
    /// Always empty.
    pub data: String,
    /// As in a result in one piece.
    pub outcome: String,
    /// As in a result in one piece.
    pub exit_code: i32,
    /// The number of the signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// From start to end: `1.5ms`.
    pub duration: String,
    /// Always false: a stream is complete.
    pub truncated: bool,
    /// Bytes that it wrote to standard output.
    pub stdout_bytes: u64,
    /// Bytes that it wrote to standard error.
    pub stderr_bytes: u64,
    /// What it used.
    pub usage: Usage,
    /// Names the execution.
    pub exec_id: String,
    /// Why the program never ran, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why the stream ended before the program did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_begins_with_its_stream_and_its_data() {
        let line = ExecLine::Stdout { data: "hi".into(), seq: 7, next: None };
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(text, r#"{"stream":"stdout","data":"hi","seq":7}"#);
        let line = ExecLine::Heartbeat { data: String::new() };
        assert_eq!(serde_json::to_string(&line).unwrap(), r#"{"stream":"heartbeat","data":""}"#);
    }

    #[test]
    fn null_and_absent_are_the_same_and_unknown_fields_are_refused() {
        let request: ExecRequest =
            serde_json::from_str(r#"{"command":"id","args":null,"env":null}"#).unwrap();
        assert_eq!(request, ExecRequest { command: Some("id".into()), ..Default::default() });
        assert!(serde_json::from_str::<ExecRequest>(r#"{"comand":"id"}"#).is_err());
    }
}
