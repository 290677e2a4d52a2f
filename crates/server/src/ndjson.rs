//! A running program as lines of JSON, each sent as soon as there is something to say.

use std::time::Duration;

use api::{Encoding, ExecExit, ExecLine};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine::{ExecEvent, RunningExec};
use futures::stream::{self, Stream, StreamExt};
use model::{Failure, Outcome, format_duration};
use tokio::time::{Instant, timeout};

use crate::convert;
use crate::error::body;

/// The lines of `exec` until its exit, and a heartbeat whenever nothing happened for `heartbeat`.
/// Dropping the stream drops the exec.
pub(crate) fn lines(
    exec: RunningExec,
    encoding: Encoding,
    heartbeat: Duration,
    request_id: String,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send {
    let writer = Writer {
        exec,
        stdout: Encoder::new(encoding),
        stderr: Encoder::new(encoding),
        seq: 0,
        started: Instant::now(),
        heartbeat,
        request_id,
    };
    stream::unfold(Some(writer), |writer| async {
        let mut writer = writer?;
        let (lines, over) = writer.next().await;
        Some((Ok(Bytes::from(lines)), (!over).then_some(writer)))
    })
}

struct Writer {
    exec: RunningExec,
    stdout: Encoder,
    stderr: Encoder,
    /// How many output lines were written.
    seq: u64,
    started: Instant,
    heartbeat: Duration,
    request_id: String,
}

impl Writer {
    /// The next lines, at least one, and whether they are the last.
    async fn next(&mut self) -> (Vec<u8>, bool) {
        let mut lines = Vec::new();
        let mut over = false;
        while lines.is_empty() {
            match timeout(self.heartbeat, self.exec.events.next()).await {
                Err(_) => write(&mut lines, &ExecLine::Heartbeat { data: String::new() }),
                Ok(Some(Ok(ExecEvent::Stdout(bytes)))) => {
                    let data = self.stdout.push(&bytes);
                    self.stdout_line(&mut lines, data);
                }
                Ok(Some(Ok(ExecEvent::Stderr(bytes)))) => {
                    let data = self.stderr.push(&bytes);
                    self.stderr_line(&mut lines, data);
                }
                Ok(Some(Ok(ExecEvent::Exit(exit)))) => {
                    self.end(&mut lines, exit_line(&exit, self.exec.id.to_string()));
                    over = true;
                }
                Ok(Some(Err(failure))) => {
                    let line = self.lost_line(&failure);
                    self.end(&mut lines, line);
                    over = true;
                }
                Ok(None) => {
                    let line = self.lost_line(&Failure::internal("the exec ended without an exit"));
                    self.end(&mut lines, line);
                    over = true;
                }
            }
        }
        (lines, over)
    }

    fn stdout_line(&mut self, lines: &mut Vec<u8>, data: String) {
        if !data.is_empty() {
            self.seq += 1;
            write(lines, &ExecLine::Stdout { data, seq: self.seq });
        }
    }

    fn stderr_line(&mut self, lines: &mut Vec<u8>, data: String) {
        if !data.is_empty() {
            self.seq += 1;
            write(lines, &ExecLine::Stderr { data, seq: self.seq });
        }
    }

    fn end(&mut self, lines: &mut Vec<u8>, exit: ExecExit) {
        let (stdout, stderr) = (self.stdout.finish(), self.stderr.finish());
        self.stdout_line(lines, stdout);
        self.stderr_line(lines, stderr);
        write(lines, &ExecLine::Exit(Box::new(exit)));
    }

    /// The last line when the program's own end is not known.
    fn lost_line(&self, failure: &Failure) -> ExecExit {
        tracing::error!(request_id = self.request_id, causes = failure.causes(), "{failure}");
        ExecExit {
            data: String::new(),
            outcome: Outcome::SandboxLost.word().to_owned(),
            exit_code: Outcome::SandboxLost.exit_code(),
            signal: None,
            duration: format_duration(self.started.elapsed()),
            truncated: false,
            stdout_bytes: self.stdout.total,
            stderr_bytes: self.stderr.total,
            usage: api::Usage::default(),
            exec_id: self.exec.id.to_string(),
            message: None,
            error: Some(body(failure, &self.request_id)),
        }
    }
}

fn exit_line(exit: &engine::ExecExit, exec_id: String) -> ExecExit {
    ExecExit {
        data: String::new(),
        outcome: exit.outcome.word().to_owned(),
        exit_code: exit.outcome.exit_code(),
        signal: exit.outcome.signal(),
        duration: format_duration(exit.duration),
        truncated: false,
        stdout_bytes: exit.stdout_bytes,
        stderr_bytes: exit.stderr_bytes,
        usage: convert::usage(exit.usage),
        exec_id,
        message: match &exit.outcome {
            Outcome::StartFailed(_, message) => Some(message.clone()),
            Outcome::Exited(_)
            | Outcome::Signaled(_)
            | Outcome::TimedOut
            | Outcome::OomKilled
            | Outcome::Canceled
            | Outcome::SandboxLost => None,
        },
        error: None,
    }
}

fn write(lines: &mut Vec<u8>, line: &ExecLine) {
    serde_json::to_writer(&mut *lines, line).expect("a line of strings and numbers is JSON");
    lines.push(b'\n');
}

/// Bytes into text that is complete after every push: a character that is cut off waits for its
/// rest.
struct Encoder {
    encoding: Encoding,
    /// The beginning of a character, at most three bytes.
    pending: Vec<u8>,
    total: u64,
}

impl Encoder {
    fn new(encoding: Encoding) -> Self {
        Self { encoding, pending: Vec::new(), total: 0 }
    }

    fn push(&mut self, bytes: &[u8]) -> String {
        self.total += bytes.len() as u64;
        match self.encoding {
            Encoding::Base64 => STANDARD.encode(bytes),
            Encoding::Utf8 => self.decode(bytes),
        }
    }

    fn decode(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.pending.len());
        let mut rest = self.pending.as_slice();
        loop {
            let error = match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => error,
            };
            let (valid, after) = rest.split_at(error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(valid));
            if let Some(bad) = error.error_len() {
                text.push(char::REPLACEMENT_CHARACTER);
                rest = &after[bad..];
            } else {
                rest = after;
                break;
            }
        }
        self.pending = rest.to_vec();
        text
    }

    /// What is left when nothing more comes.
    fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_cut_anywhere_is_the_same_text(
            pieces in proptest::collection::vec(
                prop_oneof![
                    "\\PC{0,8}".prop_map(String::into_bytes),
                    proptest::collection::vec(any::<u8>(), 0..6),
                ],
                0..8,
            ),
            cut in 1_usize..7,
        ) {
            let bytes = pieces.concat();
            let mut encoder = Encoder::new(Encoding::Utf8);
            let mut text = String::new();
            for chunk in bytes.chunks(cut) {
                text.push_str(&encoder.push(chunk));
                prop_assert!(encoder.pending.len() < 4);
            }
            text.push_str(&encoder.finish());
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
            prop_assert_eq!(encoder.total, bytes.len() as u64);
        }
    }
}
