//! Programs with a terminal, over a WebSocket: what people type and see.

use api::exec::{ExecRequest, TtySize};

use crate::stage::{Stage, as_stream, shell, told, until};
use crate::support::eventually;
use api::client::{ExecSender, ExecStream};

/// A program with what is typed and what is seen.
async fn open(stage: &Stage, request: &ExecRequest) -> (ExecSender, ExecStream, String) {
    let (sender, receiver, exec) = stage.socket(request).await;
    (sender, as_stream(receiver), exec)
}

fn terminal(line: &str) -> ExecRequest {
    ExecRequest { tty: Some(TtySize { cols: 80, rows: 24 }), ..shell(line) }
}

/// daytona#3678: Ctrl-C was a byte like any other.
#[tokio::test]
async fn ctrl_c_interrupts_what_runs_and_leaves_the_shell() {
    let stage = Stage::start().await;
    let (mut sender, mut screen, _) = open(&stage, &terminal("echo on; sleep 600")).await;
    until(&mut screen, "on\r\n").await;
    sender.stdin("\x03".into()).await.unwrap();
    let exit = told(screen).await.exit;
    assert_eq!((exit.outcome.as_str(), exit.signal, exit.exit_code), ("signaled", Some(2), 130));
    // Or it would be taken for the next one.
    eventually("what it had started ends too", async || !stage.runs("sleep")).await;

    let (mut sender, mut screen, _) =
        open(&stage, &terminal("PS1='$ ' TERM=dumb exec bash --norc")).await;
    until(&mut screen, "$ ").await;
    sender.stdin("sleep 600\n".into()).await.unwrap();
    eventually("the program runs", async || stage.runs("sleep")).await;
    sender.stdin("\x03".into()).await.unwrap();
    until(&mut screen, "^C").await;
    sender.stdin("echo code=$?\n".into()).await.unwrap();
    until(&mut screen, "code=130\r\n").await;
    sender.stdin("\x04".into()).await.unwrap();
    assert_eq!(told(screen).await.exit.outcome, "exited");
    assert!(!stage.runs("sleep"));
    stage.end().await;
}

/// A terminal has the size that its viewer has, and is told of another one.
#[tokio::test]
async fn the_size_of_a_terminal_is_seen_and_so_is_another() {
    let stage = Stage::start().await;
    let line = "trap 'stty size' WINCH; stty size; while :; do sleep 0.05; done";
    let (mut sender, mut screen, exec) = open(&stage, &terminal(line)).await;
    until(&mut screen, "24 80\r\n").await;
    sender.resize(TtySize { cols: 132, rows: 50 }).await.unwrap();
    until(&mut screen, "50 132\r\n").await;
    let size = TtySize { cols: 9, rows: 3 };
    stage.client.exec_resize((&stage.id, &exec), size).await.unwrap();
    until(&mut screen, "3 9\r\n").await;
    stage.end().await;
}

/// A shell in a terminal can put programs in the background and bring them back.
#[tokio::test]
async fn a_terminal_has_job_control() {
    let stage = Stage::start().await;
    let (mut sender, mut screen, _) =
        open(&stage, &terminal("PS1='$ ' TERM=dumb exec bash --norc")).await;
    let first = until(&mut screen, "$ ").await;
    assert!(!first.contains("no job control"), "{first}");
    sender.stdin("sleep 100 &\n".into()).await.unwrap();
    until(&mut screen, "[1] ").await;
    sender.stdin("jobs\n".into()).await.unwrap();
    let jobs = until(&mut screen, "sleep 100 &\r\n$ ").await;
    assert!(jobs.contains("Running"), "{jobs}");
    sender.stdin("fg\n".into()).await.unwrap();
    until(&mut screen, "fg\r\nsleep 100\r\n").await;
    // The shell says so before it gives the terminal away, and is itself deaf to Ctrl-Z.
    let in_front = async || stage.sh("ps -o stat= -C sleep").await.stdout.contains('+');
    eventually("the program has the terminal", in_front).await;
    // Ctrl-Z stops it, and the shell is there again.
    sender.stdin("\x1a".into()).await.unwrap();
    let stopped = until(&mut screen, "$ ").await;
    assert!(stopped.contains("Stopped"), "{stopped}");
    sender.stdin("bg; kill %1\n".into()).await.unwrap();
    eventually("the program ends", async || !stage.runs("sleep")).await;
    sender.stdin("\nexit 4\n".into()).await.unwrap();
    assert_eq!(told(screen).await.exit.exit_code, 4);
    stage.end().await;
}

/// daytona#4331: letters beyond ASCII were mangled, most of all where a message ended within one.
#[tokio::test]
async fn letters_of_any_script_survive_a_terminal() {
    let stage = Stage::start().await;
    let text = "grün → 日本語 🦀 e\u{301}";
    let request =
        terminal("stty -echo; echo on; read -r it; echo \"<$it>\"; printf %s \"$it\" > it");
    let (mut sender, mut screen, _) = open(&stage, &request).await;
    until(&mut screen, "on\r\n").await;
    for byte in text.bytes().chain([b'\n']) {
        sender.stdin(vec![byte].into()).await.unwrap();
    }
    let end = told(screen).await;
    assert_eq!((end.text(), end.exit.exit_code), (format!("<{text}>\r\n"), 0));
    assert_eq!(stage.output("cat it").await, text);
    stage.end().await;
}

/// A program with a terminal has one as its controlling terminal, of the sandbox's own.
#[tokio::test]
async fn a_terminal_is_one_to_the_program() {
    let stage = Stage::start().await;
    let line = "tty; test -t 0 && test -t 1 && test -t 2 && echo all; echo > /dev/tty to the tty; \
                echo err >&2";
    let (_sender, screen, _) = open(&stage, &terminal(line)).await;
    let end = told(screen).await;
    let text = end.text();
    assert!(text.starts_with("/dev/pts/"), "{text}");
    assert!(text.ends_with("all\r\nto the tty\r\nerr\r\n"), "{text}");
    assert_eq!(end.stderr, b"");
    stage.end().await;
}
