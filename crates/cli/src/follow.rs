//! Follows a command to its end: its output goes where ours goes, byte for byte, and its exit
//! code becomes ours.

use std::io::{self, Write};

use api::client::ExecChunk;
use api::{ExecExit, ExecResult};
use bytes::Bytes;
use futures::StreamExt as _;
use model::Output;

use crate::failed::Failed;
use crate::output;
use crate::plane::Chunks;

/// What `--json` keeps of each stream, as much as the server's own answer in one piece.
const OUTPUT_BYTES_MAX: usize = 1024 * 1024;

/// What a shell reports of a program that wrote to a pipe that nobody reads: 128 and SIGPIPE.
const BROKEN_PIPE: u8 = 141;

/// The exit code of what has none of its own.
const NO_CODE: u8 = 125;

/// Passes output on as it comes, and gives the command's exit code.
pub async fn live(mut chunks: Chunks) -> Result<u8, Failed> {
    while let Some(chunk) = chunks.next().await {
        let written = match chunk? {
            ExecChunk::Stdout(bytes) => write(bytes, io::stdout).await,
            ExecChunk::Stderr(bytes) => write(bytes, io::stderr).await,
            ExecChunk::Lost(bytes) => {
                lost(bytes);
                continue;
            }
            ExecChunk::Exit(exit) => return ended(&exit),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(BROKEN_PIPE),
            Err(error) => return Err(Failed::to("pass the command's output on", &error)),
            Ok(()) => {}
        }
    }
    Err(Failed::new("failed to follow the command: its output ended before it did"))
}

/// Waits for the end and prints everything as one JSON object.
pub async fn collected(mut chunks: Chunks) -> Result<u8, Failed> {
    let mut stdout = Output::with_limit(OUTPUT_BYTES_MAX);
    let mut stderr = Output::with_limit(OUTPUT_BYTES_MAX);
    while let Some(chunk) = chunks.next().await {
        match chunk? {
            ExecChunk::Stdout(bytes) => stdout.push(&bytes),
            ExecChunk::Stderr(bytes) => stderr.push(&bytes),
            ExecChunk::Lost(bytes) => lost(bytes),
            ExecChunk::Exit(exit) => {
                output::print_json(&result(&exit, &stdout, &stderr))?;
                return ended(&exit);
            }
        }
    }
    Err(Failed::new("failed to follow the command: its output ended before it did"))
}

fn result(exit: &ExecExit, stdout: &Output, stderr: &Output) -> ExecResult {
    ExecResult {
        exit_code: exit.exit_code,
        stdout: stdout.text(),
        stderr: stderr.text(),
        duration: exit.duration.clone(),
        outcome: exit.outcome.clone(),
        signal: exit.signal,
        truncated: stdout.is_truncated() || stderr.is_truncated(),
        stdout_bytes: exit.stdout_bytes,
        stderr_bytes: exit.stderr_bytes,
        usage: exit.usage,
        exec_id: exit.exec_id.clone(),
    }
}

/// Says that output is missing, which is not the command's doing.
fn lost(bytes: u64) {
    output::say(&format!("warning: {bytes} bytes of output were no longer kept\n"));
}

/// The exit code; says why when the command could not say it itself.
fn ended(exit: &ExecExit) -> Result<u8, Failed> {
    if let Some(error) = &exit.error {
        return Err(error.clone().into());
    }
    let problem = match exit.outcome.as_str() {
        "timed_out" => Some("the command ran over its timeout and was ended".to_owned()),
        "oom_killed" => Some("the sandbox ran out of memory and the command was ended".to_owned()),
        "canceled" => Some("the command was ended by somebody else".to_owned()),
        "sandbox_lost" => Some("the sandbox ended before the command".to_owned()),
        "start_failed" => {
            let message = exit.message.as_deref().unwrap_or("it could not be started");
            Some(format!("failed to start the command: {message}"))
        }
        _ => None,
    };
    if let Some(problem) = problem {
        output::say(&Failed::new(problem).lines(false));
    }
    Ok(u8::try_from(exit.exit_code).unwrap_or(NO_CODE))
}

/// Writes away from the runtime's threads, as the reader may be slow.
async fn write<W: Write + 'static>(bytes: Bytes, out: fn() -> W) -> io::Result<()> {
    let write = move || {
        let mut out = out();
        out.write_all(&bytes).and_then(|()| out.flush())
    };
    tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(outcome: &str, exit_code: i32) -> ExecExit {
        ExecExit {
            data: String::new(),
            outcome: outcome.into(),
            exit_code,
            signal: None,
            duration: "1ms".into(),
            truncated: false,
            stdout_bytes: 0,
            stderr_bytes: 0,
            usage: api::Usage::default(),
            exec_id: "ex-1".into(),
            message: None,
            error: None,
        }
    }

    #[test]
    fn exit_codes_are_passed_on_and_strange_ones_are_ours() {
        for (outcome, code, expected) in [
            ("exited", 0, 0),
            ("exited", 255, 255),
            ("signaled", 143, 143),
            ("timed_out", 124, 124),
            ("exited", -1, 125),
            ("exited", 256, 125),
        ] {
            assert_eq!(ended(&exit(outcome, code)).unwrap(), expected, "{outcome} {code}");
        }
    }
}
