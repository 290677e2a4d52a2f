//! What a program prints is what its callers get: every byte, in order, before the end.

use api::exec::{Encoding, ExecLine, ExecRequest, TtySize};
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stage::{Stage, Told, fed, heard, numbers, shell, told, within};

/// Each byte once.
const ALL_BYTES: &str = "python3 -c \"import sys; sys.stdout.buffer.write(bytes(range(256)))\"";

/// The lines of a stream as they are on the wire, in the encoding that is the default.
async fn raw_lines(stage: &Stage, request: &ExecRequest) -> Vec<ExecLine> {
    let request = ExecRequest { stream: Some(true), ..request.clone() };
    let body = serde_json::to_string(&request).expect("a request is JSON");
    // HTTP/1.0 has no chunks, so the answer's body is the lines and nothing else.
    let head = format!(
        "POST /api/v1/sandboxes/{}/exec HTTP/1.0\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        stage.id,
        body.len()
    );
    let connected = TcpStream::connect(("127.0.0.1", stage.server.port())).await;
    let mut stream = connected.expect("the server listens");
    stream.write_all((head + &body).as_bytes()).await.expect("the server reads");
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.expect("the answer is text");
    let (head, lines) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    assert!(head.contains("200 OK"), "{head}");
    lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// OpenSandbox#902: blank lines were lost in streamed output.
#[tokio::test]
async fn blank_lines_arrive_in_a_stream() {
    let stage = Stage::start().await;
    let expected = "\n\na\n\n\nb \n\n \nc\n\n";
    // Once as single writes with time between them, once as one.
    let apart = shell(
        "printf '\\n'; sleep 0.1; printf '\\na\\n'; sleep 0.1; printf '\\n'; sleep 0.1; \
         printf '\\nb \\n\\n'; sleep 0.1; printf ' \\nc\\n\\n'",
    );
    let at_once = shell("printf '\\n\\na\\n\\n\\nb \\n\\n \\nc\\n\\n'");
    for request in [apart, at_once] {
        let mut text = String::new();
        for line in raw_lines(&stage, &request).await {
            if let ExecLine::Stdout { data, .. } = line {
                text.push_str(&data);
            }
        }
        assert_eq!(text, expected);
        assert_eq!(told(stage.stream(&request).await).await.text(), expected);
        let (_sender, receiver, _) = stage.socket(&request).await;
        assert_eq!(heard(receiver).await.text(), expected);
        let exec = stage.background(&request).await;
        assert_eq!(stage.told(&exec).await.text(), expected);
        assert_eq!(stage.output(request.command.as_deref().unwrap()).await, expected);
    }
    stage.end().await;
}

/// FastGPT#7433, everruns#1124, cloudflare/sandbox-sdk#10: what is not text was corrupted.
#[tokio::test]
async fn all_256_bytes_arrive_exactly() {
    let stage = Stage::start().await;
    let expected: Vec<u8> = (0..=255).collect();
    let request = shell(ALL_BYTES);
    assert_eq!(told(stage.stream(&request).await).await.stdout, expected);
    let (_sender, receiver, _) = stage.socket(&request).await;
    assert_eq!(heard(receiver).await.stdout, expected);
    let exec = stage.background(&request).await;
    assert_eq!(stage.told(&exec).await.stdout, expected);
    let request = ExecRequest { encoding: Some(Encoding::Base64), ..request };
    let whole = stage.client.exec(&stage.id, &request).await.unwrap();
    assert_eq!(whole.stdout, stage.output(&format!("{ALL_BYTES} | base64 -w 0")).await);
    assert_eq!((whole.stdout_bytes, whole.truncated), (256, false));

    // Both ways.
    let (mut sender, receiver, _) = stage.socket(&fed("cat")).await;
    sender.stdin(expected.clone().into()).await.unwrap();
    sender.close_stdin().await.unwrap();
    assert_eq!(heard(receiver).await.stdout, expected);
    stage.end().await;
}

/// daytona#4422, daytona#4586: the exit code came before the output, and the output never.
#[tokio::test]
async fn no_exit_comes_before_the_last_byte_of_a_short_command() {
    let stage = Stage::start().await;
    let request = shell("seq 1 2000; echo end >&2; exit 9");
    let expected = &numbers(2000, "\n");
    let check = |end: Told| {
        assert_eq!(end.exit.exit_code, 9);
        assert_eq!(end.stderr, b"end\n");
        assert!(end.text() == *expected, "{} bytes of {}", end.stdout.len(), expected.len());
    };
    let (stage_ref, request) = (&stage, &request);
    let runs = futures::stream::iter(0..100).map(|_| async move {
        let whole = stage_ref.client.exec(&stage_ref.id, request).await.unwrap();
        assert_eq!((whole.exit_code, whole.stderr.as_str()), (9, "end\n"));
        assert!(whole.stdout == *expected, "{} of {}", whole.stdout.len(), expected.len());
        check(told(stage_ref.stream(request).await).await);
        let (_sender, receiver, _) = stage_ref.socket(request).await;
        check(heard(receiver).await);
    });
    runs.buffer_unordered(8).collect::<Vec<()>>().await;
    stage.end().await;
}

/// libmodal#245: output of a program with a terminal was truncated.
#[tokio::test]
async fn large_output_of_a_terminal_arrives_whole() {
    let stage = Stage::start().await;
    let tty = Some(TtySize { cols: 80, rows: 24 });
    let request = ExecRequest { tty, ..shell("seq 1 500000") };
    // A terminal ends its lines in its own way.
    let expected = numbers(500_000, "\r\n");
    let streamed = told(stage.stream(&request).await).await;
    let (_sender, receiver, _) = stage.socket(&request).await;
    for end in [streamed, heard(receiver).await] {
        assert!(end.text() == expected, "{} bytes of {}", end.stdout.len(), expected.len());
        assert_eq!(end.exit.stdout_bytes, expected.len() as u64);
        assert_eq!((end.exit.exit_code, end.stderr.len()), (0, 0));
    }
    stage.end().await;
}

/// Without input there is its end, so that nothing waits for ever.
#[tokio::test]
async fn a_program_without_input_reads_the_end_at_once() {
    let stage = Stage::start().await;
    let request = shell("cat; echo over");
    assert_eq!(stage.output("cat; echo over").await, "over\n");
    assert_eq!(told(stage.stream(&request).await).await.text(), "over\n");
    let (_sender, receiver, _) = stage.socket(&request).await;
    assert_eq!(heard(receiver).await.text(), "over\n");
    let exec = stage.background(&request).await;
    assert_eq!(stage.told(&exec).await.text(), "over\n");
    let refused = stage.client.exec_stdin((&stage.id, &exec), (vec![b'x'].into(), true)).await;
    assert_eq!(refused.unwrap_err().api().unwrap().status, 409);
    stage.end().await;
}

/// The bytes of `input` are all that a program reads, and behind them is the end.
#[tokio::test]
async fn input_that_comes_with_the_request_is_read_to_its_end() {
    let stage = Stage::start().await;
    for input in ["", "a line\n", "no end of line", "\0grün\r\n\u{1F980}"] {
        let request = ExecRequest { input: Some(input.into()), ..shell("cat; printf '|%s' $?") };
        let expected = format!("{input}|0");
        assert_eq!(stage.client.exec(&stage.id, &request).await.unwrap().stdout, expected);
        assert_eq!(told(stage.stream(&request).await).await.text(), expected);
        let exec = stage.background(&request).await;
        assert_eq!(stage.told(&exec).await.text(), expected);
    }
    let input = Some("0123456789abcdef".repeat(200_000));
    let request = ExecRequest { input, ..shell("wc -c") };
    assert_eq!(stage.client.exec(&stage.id, &request).await.unwrap().stdout, "3200000\n");
    // A program that reads a part of it only is not held by the rest.
    let request = ExecRequest { command: Some("head -c 3".into()), ..request };
    assert_eq!(stage.client.exec(&stage.id, &request).await.unwrap().stdout, "012");
    stage.end().await;
}
