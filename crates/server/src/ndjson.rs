//! A program's output as lines of JSON, each sent as soon as there is something to say.

use std::convert::Infallible;
use std::time::Duration;

use api::{Encoding, ExecExit, ExecLine};
use bytes::Bytes;
use engine::{Offsets, RunningExec, WatchEvent, WatchStream};
use futures::stream::{self, Stream, StreamExt};
use model::{ExecId, Failure, Outcome, format_duration};
use tokio::time::{Instant, timeout};

use crate::convert;
use crate::error::body;
use crate::text::Encoder;

/// The output of one program.
pub(crate) struct Source {
    id: ExecId,
    events: WatchStream,
    /// Bytes that come before the first event.
    from: Offsets,
    /// Whether the output was asked for by its offset, so that lines say theirs.
    by_offset: bool,
    /// Whether the output may end before the program does.
    may_stop: bool,
}

impl Source {
    /// All output of a program that was just started.
    pub(crate) fn running(exec: RunningExec) -> Self {
        let mut next = Offsets::default();
        let events = exec.events.map(move |event| Ok(event?.placed(&mut next)));
        let from = Offsets::default();
        Self { id: exec.id, events: events.boxed(), from, by_offset: false, may_stop: false }
    }

    /// What a program wrote from the given bytes on; to its end if `follow`.
    pub(crate) fn kept(id: ExecId, events: WatchStream, (from, follow): (Offsets, bool)) -> Self {
        Self { id, events, from, by_offset: true, may_stop: !follow }
    }
}

/// The lines of `source` until the exit, and a heartbeat whenever nothing happened for
/// `heartbeat`. Dropping the stream drops the source.
pub(crate) fn lines(
    source: Source,
    encoding: Encoding,
    heartbeat: Duration,
    request_id: String,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let writer = Writer {
        stdout: Channel::new("stdout", encoding, source.from.stdout),
        stderr: Channel::new("stderr", encoding, source.from.stderr),
        source,
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

/// One of the two outputs.
struct Channel {
    name: &'static str,
    encoder: Encoder,
    /// Bytes up to and with the last event.
    next: u64,
}

impl Channel {
    fn new(name: &'static str, encoding: Encoding, from: u64) -> Self {
        Self { name, encoder: Encoder::new(encoding), next: from }
    }

    /// Takes bytes in: the text that is complete, and how many bytes before them are missing.
    fn take(&mut self, offset: u64, bytes: &[u8]) -> (String, u64) {
        let lost = offset.saturating_sub(self.next);
        let mut text = if lost > 0 { self.encoder.finish() } else { String::new() };
        text.push_str(&self.encoder.push(bytes));
        self.next = offset + bytes.len() as u64;
        (text, lost)
    }

    /// Bytes of which the text was given out.
    fn told(&self) -> u64 {
        self.next - self.encoder.pending() as u64
    }
}

struct Writer {
    source: Source,
    stdout: Channel,
    stderr: Channel,
    /// How many output lines were written.
    seq: u64,
    started: Instant,
    heartbeat: Duration,
    request_id: String,
}

impl Writer {
    /// The next lines, at least one unless they are the last, and whether they are.
    async fn next(&mut self) -> (Vec<u8>, bool) {
        let mut lines = Vec::new();
        let mut over = false;
        while lines.is_empty() && !over {
            match timeout(self.heartbeat, self.source.events.next()).await {
                Err(_) => write(&mut lines, &ExecLine::Heartbeat { data: String::new() }),
                Ok(Some(Ok(WatchEvent::Stdout { offset, bytes }))) => {
                    let (data, lost) = self.stdout.take(offset, &bytes);
                    gap(&mut lines, self.stdout.name, lost);
                    self.stdout_line(&mut lines, data);
                }
                Ok(Some(Ok(WatchEvent::Stderr { offset, bytes }))) => {
                    let (data, lost) = self.stderr.take(offset, &bytes);
                    gap(&mut lines, self.stderr.name, lost);
                    self.stderr_line(&mut lines, data);
                }
                Ok(Some(Ok(WatchEvent::Exit(exit)))) => {
                    // What was overwritten before it could be sent is missing at the end, too.
                    gap(&mut lines, "stdout", exit.stdout_bytes.saturating_sub(self.stdout.next));
                    gap(&mut lines, "stderr", exit.stderr_bytes.saturating_sub(self.stderr.next));
                    self.end(&mut lines, Some(exit_line(&exit, self.source.id.to_string())));
                    over = true;
                }
                Ok(Some(Err(failure))) => {
                    let line = self.lost_line(&failure);
                    self.end(&mut lines, Some(line));
                    over = true;
                }
                Ok(None) => {
                    let broken = || Failure::internal("the exec ended without an exit");
                    let line = (!self.source.may_stop).then(|| self.lost_line(&broken()));
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
            let next = self.source.by_offset.then(|| self.stdout.told());
            write(lines, &ExecLine::Stdout { data, seq: self.seq, next });
        }
    }

    fn stderr_line(&mut self, lines: &mut Vec<u8>, data: String) {
        if !data.is_empty() {
            self.seq += 1;
            let next = self.source.by_offset.then(|| self.stderr.told());
            write(lines, &ExecLine::Stderr { data, seq: self.seq, next });
        }
    }

    fn end(&mut self, lines: &mut Vec<u8>, exit: Option<ExecExit>) {
        let (stdout, stderr) = (self.stdout.encoder.finish(), self.stderr.encoder.finish());
        self.stdout_line(lines, stdout);
        self.stderr_line(lines, stderr);
        if let Some(exit) = exit {
            write(lines, &ExecLine::Exit(Box::new(exit)));
        }
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
            stdout_bytes: self.stdout.next,
            stderr_bytes: self.stderr.next,
            usage: api::Usage::default(),
            exec_id: self.source.id.to_string(),
            message: None,
            error: Some(body(failure, &self.request_id)),
        }
    }
}

/// The last line, or message, about a program.
pub(crate) fn exit_line(exit: &engine::ExecExit, exec_id: String) -> ExecExit {
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
        message: convert::start_message(&exit.outcome),
        error: None,
    }
}

fn gap(lines: &mut Vec<u8>, of: &str, lost: u64) {
    if lost > 0 {
        write(lines, &ExecLine::Gap { data: String::new(), of: of.to_owned(), lost });
    }
}

fn write(lines: &mut Vec<u8>, line: &ExecLine) {
    if let ExecLine::Stdout { data, .. } | ExecLine::Stderr { data, .. } = line {
        // What is escaped is a little longer, so that the buffer hardly ever moves.
        lines.reserve(data.len() + data.len() / 8 + 64);
    }
    serde_json::to_writer(&mut *lines, line).expect("a line of strings and numbers is JSON");
    lines.push(b'\n');
}
