//! Readers that go away while their program runs, and readers that are slow.

use std::time::{Duration, Instant};

use api::client::{ExecChunk, ExecMessage, ExecStream};
use api::exec::{ExecExit, ExecRequest};
use futures::StreamExt;

use crate::stage::{Stage, as_stream, shell, until, within};
use crate::support::{self, PATIENCE, eventually};

/// Prints until it is told to stop.
const TALK: &str = "i=0; while [ ! -e go ]; do echo $i; i=$((i+1)); sleep 0.02; done; \
                    echo end $i; exit 7";

/// cloudflare/sandbox-sdk#400: what a client had started ran on without an owner when it was gone.
#[tokio::test]
async fn a_program_ends_with_a_reader_that_vanishes_if_that_was_asked_for() {
    let stage = Stage::start().await;
    let request = ExecRequest { kill_on_disconnect: Some(true), ..shell(TALK) };
    let mut stream = stage.stream(&request).await;
    until(&mut stream, "3\n").await;
    drop(stream);
    let gone = async || stage.programs().is_empty();
    eventually("the program of the stream ends", gone).await;

    let (sender, mut receiver, exec) = stage.socket(&request).await;
    while !matches!(receiver.next().await, Some(Ok(ExecMessage::Stdout(_)))) {}
    drop((sender, receiver));
    eventually("the program of the socket ends", gone).await;
    let event = stage.end_event(&exec).await;
    assert_eq!(
        (event.kind.as_str(), event.data["outcome"].as_str()),
        ("exec.completed", "canceled")
    );
    stage.end().await;
}

/// E2B#1074, coding-tools-mcp#55: a dropped connection was the end of the work.
#[tokio::test]
async fn a_program_whose_reader_vanishes_goes_on_and_is_found_with_its_end() {
    let stage = Stage::start().await;
    let request = ExecRequest { kill_on_disconnect: Some(false), ..shell(TALK) };
    let mut stream = stage.stream(&request).await;
    until(&mut stream, "3\n").await;
    drop(stream);
    let (sender, receiver, socket) = stage.socket(&request).await;
    drop((sender, receiver));

    let execs = stage.client.execs(&stage.id).await.unwrap();
    assert_eq!(execs.len(), 2);
    assert_eq!(execs[0].exec_id, socket, "the newest is the first");
    assert!(execs.iter().all(|exec| exec.state == "running" && !exec.background));
    // It talks on to nobody.
    stage.wrote(&socket, "20\n").await;
    stage.write("go", "").await;
    for exec in execs {
        let record = stage.ended(&exec.exec_id).await;
        assert_eq!((record.outcome.as_deref(), record.exit_code), (Some("exited"), Some(7)));
        let told = stage.told(&exec.exec_id).await;
        assert_eq!((told.lost, told.exit.exit_code), (0, 7));
        assert_eq!(record.stdout_bytes, Some(told.stdout.len() as u64));
        assert!(told.text().starts_with("0\n1\n2\n3\n"), "{}", told.text());
        assert!(told.text().lines().last().unwrap().starts_with("end "));
        assert_eq!(stage.end_event(&exec.exec_id).await.kind, "exec.completed");
    }
    stage.end().await;
}

/// Without a wish of the caller's, a plain call is the only one whose program ends with it.
#[tokio::test]
async fn what_a_vanished_caller_means_follows_from_the_kind_of_its_call() {
    let stage = Stage::start().await;
    let line = |name: &str| shell(&format!("echo > {name}; exec sleep 600"));
    let (client, id) = (stage.server.client(), stage.id.clone());
    let plain = line("plain");
    let call = tokio::spawn(async move { client.exec(&id, &plain).await });
    let stream = stage.stream(&line("stream")).await;
    let (sender, receiver, socket) = stage.socket(&line("socket")).await;
    let background = stage.background(&line("background")).await;
    for name in ["plain", "stream", "socket", "background"] {
        let begun = async || stage.has(name).await;
        eventually("the program begins", begun).await;
    }
    call.abort();
    drop((stream, sender, receiver));
    let sleepers = || stage.programs().iter().filter(|name| *name == "sleep").count();
    eventually("the program of the plain call ends", async || sleepers() == 3).await;
    let execs = stage.client.execs(&stage.id).await.unwrap();
    assert_eq!(execs.len(), 3, "{execs:?}");
    assert!(execs.iter().all(|exec| exec.state == "running"), "{execs:?}");
    assert!(execs.iter().any(|exec| exec.exec_id == socket && !exec.background));
    assert!(execs.iter().any(|exec| exec.exec_id == background && exec.background));
    stage.end().await;
}

/// How often a program prints the block: 200 MB in all.
const ROUNDS: usize = 200;

/// About a megabyte without a period, so that a part that is missing shows.
fn block() -> Vec<u8> {
    let byte = |at: u32| b' ' + (at.wrapping_mul(2_654_435_761) >> 24) as u8 % 89;
    (0..1_000_003).map(byte).collect()
}

/// A program that prints the block, and writes down how often it has.
async fn printer(stage: &Stage) -> ExecRequest {
    let block = String::from_utf8(block()).expect("the block is ASCII");
    stage.write("block", &block).await;
    shell(&format!("i=0; while [ $i -lt {ROUNDS} ]; do cat block; i=$((i+1)); echo $i >at; done"))
}

/// How often a program has printed the block when it comes to a halt.
async fn held_back(stage: &Stage) -> usize {
    let at = async || support::read(&stage.client, &stage.id, "/workspace/at").await;
    let deadline = Instant::now() + PATIENCE;
    let mut before = at().await;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = at().await;
        if now == before
            && let Some(now) = &now
        {
            return now.trim().parse().expect("a number");
        }
        assert!(Instant::now() < deadline, "the program is not held back: {now:?}");
        before = now;
    }
}

/// Reads all blocks with pauses; the exit, and the most memory of server and agent meanwhile.
async fn read_slowly(stage: &Stage, mut stream: ExecStream) -> (ExecExit, (u64, u64)) {
    let block = block();
    let (mut seen, mut sampled, mut peak) = (0, 0, (0, 0));
    loop {
        match within(stream.next()).await.expect("a stream ends with an exit") {
            Ok(ExecChunk::Stdout(bytes)) => {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let from = seen % block.len();
                    let length = rest.len().min(block.len() - from);
                    assert!(rest[..length] == block[from..from + length], "other from {seen} on");
                    (seen, rest) = (seen + length, &rest[length..]);
                }
            }
            Ok(ExecChunk::Exit(exit)) => {
                assert_eq!(seen, ROUNDS * block.len());
                return (*exit, peak);
            }
            other @ (Ok(ExecChunk::Stderr(_) | ExecChunk::Lost(_)) | Err(_)) => panic!("{other:?}"),
        }
        if seen - sampled > 5_000_000 {
            // What makes the reader slow.
            tokio::time::sleep(Duration::from_millis(20)).await;
            sampled = seen;
            let now = stage.resident_kib();
            peak = (peak.0.max(now.0), peak.1.max(now.1));
        }
    }
}

/// A reader that first does not read at all, and then slowly.
async fn check_slow_reader(stage: &Stage, stream: ExecStream) {
    let before = stage.resident_kib();
    let held = held_back(stage).await;
    assert!(held < 40, "{held} MB were taken from the program for a reader that does not read");
    let (exit, peak) = read_slowly(stage, stream).await;
    assert_eq!((exit.exit_code, exit.truncated), (0, false));
    assert_eq!(exit.stdout_bytes, (ROUNDS * block().len()) as u64);
    let grown = (peak.0.saturating_sub(before.0), peak.1.saturating_sub(before.1));
    assert!(grown.0 < 48 * 1024 && grown.1 < 24 * 1024, "grown by {grown:?} KiB from {before:?}");
}

/// E2B#1472, daytona#4366: output was gathered in memory, or dropped when its reader was slow.
#[tokio::test]
async fn two_hundred_megabytes_reach_a_slow_reader_of_a_stream_in_little_memory() {
    let stage = Stage::start().await;
    let stream = stage.stream(&printer(&stage).await).await;
    check_slow_reader(&stage, stream).await;
    stage.end().await;
}

/// daytona#3678: a socket that was full of output starved everything else.
#[tokio::test]
async fn two_hundred_megabytes_reach_a_slow_reader_of_a_socket_in_little_memory() {
    let stage = Stage::start().await;
    let (_sender, receiver, _) = stage.socket(&printer(&stage).await).await;
    check_slow_reader(&stage, as_stream(receiver)).await;
    stage.end().await;
}

/// A program that does not read holds up what its client sends; it ends with its client all the
/// same.
#[tokio::test]
async fn a_program_that_reads_nothing_ends_with_its_client() {
    let stage = Stage::start().await;
    let request = ExecRequest {
        stdin: Some(true),
        kill_on_disconnect: Some(true),
        ..shell("exec sleep 600")
    };
    let (mut sender, receiver, _) = stage.socket(&request).await;
    let piece = bytes::Bytes::from(vec![b'x'; 512 * 1024]);
    let held_up = async { while sender.stdin(piece.clone()).await.is_ok() {} };
    // More is not taken: the program's pipe, and all that is on the way to it, is full.
    assert!(tokio::time::timeout(Duration::from_secs(2), held_up).await.is_err());
    drop((sender, receiver));
    let begun = Instant::now();
    eventually("the program ends with its client", async || stage.programs().is_empty()).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    stage.end().await;
}
