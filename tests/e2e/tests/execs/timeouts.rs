//! The end of a program by its timeout or by a kill: it is the end of everything that the program
//! started, and it is told as what it is.

use std::time::{Duration, Instant};

use crate::stage::{NONE, Stage, heard, shell, timed, told, within};
use crate::support::eventually;

/// Takes a port and says so.
const SERVER: &str = "import socket, time\n\
    s = socket.create_server(('127.0.0.1', 3000))\n\
    print('listening', flush=True)\n\
    time.sleep(600)\n";

/// Takes a port and becomes a daemon by the book: two forks with a new session between them, no
/// descriptor but the port's, deaf to what asks it to end. The first process ends when all is done.
const DAEMON: &str = "import os, signal, socket, time\n\
    s = socket.create_server(('127.0.0.1', 3000))\n\
    done, tell = os.pipe()\n\
    if os.fork() == 0:\n\
    \x20   os.setsid()\n\
    \x20   if os.fork() == 0:\n\
    \x20       for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):\n\
    \x20           signal.signal(number, signal.SIG_IGN)\n\
    \x20       os.chdir('/')\n\
    \x20       for fd in (0, 1, 2):\n\
    \x20           os.close(fd)\n\
    \x20       os.write(tell, b'x')\n\
    \x20       time.sleep(600)\n\
    \x20   os._exit(0)\n\
    os.read(done, 1)\n\
    print('daemon', flush=True)\n";

/// Long enough for an interpreter to start on a busy machine.
const TIMEOUT: &str = "5s";

/// A short grace.
const GRACE: &[(&str, &str)] = &[("STACYVM_LIMITS_EXEC_GRACE", "500ms")];

/// Fails unless a new server can take the port.
async fn assert_port_is_free(stage: &Stage) {
    let server = stage.background(&shell("exec python3 server.py")).await;
    stage.wrote(&server, "listening\n").await;
    stage.client.exec_kill(&stage.id, &server).await.expect("the server is ended");
}

/// E2B#1031: the timeout ended the leader, and the server that it had started kept port 3000.
#[tokio::test]
async fn a_server_can_take_the_port_of_one_that_a_timeout_ended() {
    let stage = Stage::start_with(GRACE).await;
    stage.write("server.py", SERVER).await;
    // A grandchild, as a development server is one of `npm run dev`.
    let request = timed("sh -c 'python3 server.py; true'; true", TIMEOUT);
    let error = stage.refused(&request).await;
    assert_eq!(error.body.reason, "exec_timeout");
    assert_eq!(error.body.details["stdout"], "listening\n");
    assert_eq!(stage.programs(), NONE);
    assert_port_is_free(&stage).await;
    stage.end().await;
}

/// E2B#1034, E2B#1389: a timeout reached the shell alone, and what it had started lived on.
#[tokio::test]
async fn nothing_that_a_program_started_survives_its_timeout() {
    let stage = Stage::start_with(GRACE).await;
    let line = "sleep 700 & setsid sleep 700 & nohup sleep 700 >/dev/null 2>&1 & \
                (setsid nohup sleep 700 >/dev/null 2>&1 </dev/null &) ; \
                (trap '' TERM HUP INT; setsid sh -c 'sleep 700 & wait; sleep 700') & \
                sleep 0.3; echo started; wait";
    let error = stage.refused(&timed(line, "2s")).await;
    assert_eq!(error.body.reason, "exec_timeout");
    assert_eq!(error.body.details["stdout"], "started\n");
    assert_eq!(stage.programs(), NONE);
    stage.end().await;
}

/// E2B#1034: so did a kill.
#[tokio::test]
async fn nothing_that_a_program_started_survives_its_kill() {
    let stage = Stage::start_with(GRACE).await;
    let line = "sleep 700 & setsid sleep 700 & nohup sleep 700 >/dev/null 2>&1 & \
                (trap '' TERM HUP INT; setsid sh -c 'sleep 700 & wait; sleep 700') & \
                sleep 0.3; echo started; wait";
    let exec = stage.background(&shell(line)).await;
    stage.wrote(&exec, "started\n").await;
    let killed = stage.client.exec_kill(&stage.id, &exec).await.unwrap();
    assert_eq!((killed.state.as_str(), killed.outcome.as_deref()), ("ended", Some("canceled")));
    assert_eq!(stage.programs(), NONE);
    stage.end().await;
}

/// E2B#1031, microsandbox#1104: what had left its session and its parents was out of reach.
#[tokio::test]
async fn a_daemon_that_holds_a_port_ends_with_the_timeout_and_with_the_kill_of_its_program() {
    let stage = Stage::start_with(GRACE).await;
    stage.write("server.py", SERVER).await;
    stage.write("daemon.py", DAEMON).await;

    let error = stage.refused(&timed("python3 daemon.py; sleep 600", TIMEOUT)).await;
    assert_eq!(error.body.details["stdout"], "daemon\n");
    assert_eq!(stage.programs(), NONE);
    assert_port_is_free(&stage).await;

    let exec = stage.background(&shell("python3 daemon.py; sleep 600")).await;
    stage.wrote(&exec, "daemon\n").await;
    stage.client.exec_kill(&stage.id, &exec).await.unwrap();
    assert_eq!(stage.programs(), NONE);
    assert_port_is_free(&stage).await;
    stage.end().await;
}

/// qntx/bux#163: a child that held the pipe made the call hang past its timeout.
#[tokio::test]
async fn a_child_that_holds_the_output_does_not_hold_a_call_past_its_timeout() {
    let stage = Stage::start_with(GRACE).await;
    let begun = Instant::now();
    // The program ends at once, and only the child is there to hold the output.
    let result = within(stage.client.exec(&stage.id, &timed("sleep 600 & echo up", "30s"))).await;
    let result = result.unwrap();
    assert_eq!((result.outcome.as_str(), result.stdout.as_str()), ("exited", "up\n"));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(stage.runs("sleep"), "the child is left alone");
    stage.output("pkill -x sleep").await;

    // The program runs into its timeout, and the child has taken the output elsewhere.
    let line = "setsid sh -c \"trap '' TERM; sleep 600\" & echo up; wait";
    let error = stage.refused(&timed(line, "1s")).await;
    assert_eq!(error.body.details["stdout"], "up\n");
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    let same = async || stage.programs().is_empty();
    eventually("nothing is left", same).await;
    stage.end().await;
}

/// cloudflare/sandbox-sdk#185: a server that was started with `&` made exec hang.
#[tokio::test]
async fn a_server_that_is_started_with_an_ampersand_does_not_hold_the_call_and_lives_on() {
    let stage = Stage::start().await;
    stage.write("server.py", SERVER).await;
    let begun = Instant::now();
    let result = stage.sh("python3 server.py &").await;
    let streamed = told(stage.stream(&shell("sleep 600 & echo on")).await).await;
    let (_sender, receiver, _) = stage.socket(&shell("sleep 600 & echo on")).await;
    let socket = heard(receiver).await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!((result.outcome.as_str(), result.exit_code), ("exited", 0));
    assert_eq!((streamed.text().as_str(), socket.text().as_str()), ("on\n", "on\n"));
    let connect = "python3 -c \"import socket; socket.create_connection(('127.0.0.1', 3000))\"";
    let listens = async || stage.sh(connect).await.exit_code == 0;
    eventually("the server listens", listens).await;
    let id = stage.id.clone();
    stage.end().await;
    assert!(crate::stage::processes(&id).is_empty(), "a survivor outlives its sandbox");
}

/// AgentCompass#284, trpc-agent-go#2087: a timeout was exit code -1, or empty and a success.
#[tokio::test]
async fn a_timeout_is_told_from_every_other_end_with_the_output_so_far() {
    let stage = Stage::start_with(GRACE).await;
    let request = timed("echo partial; echo trouble >&2; sleep 600", "1s");
    let error = stage.refused(&request).await;
    assert_eq!((error.status, error.body.reason.as_str()), (408, "exec_timeout"));
    let details = &error.body.details;
    assert_eq!(
        (&details["stdout"], &details["stderr"]),
        (&"partial\n".into(), &"trouble\n".into())
    );
    assert_eq!((&details["outcome"], &details["exit_code"]), (&"timed_out".into(), &124.into()));

    let (_sender, receiver, _) = stage.socket(&request).await;
    for end in [told(stage.stream(&request).await).await, heard(receiver).await] {
        assert_eq!((end.exit.outcome.as_str(), end.exit.exit_code), ("timed_out", 124));
        assert_eq!((end.text().as_str(), end.stderr.as_slice()), ("partial\n", &b"trouble\n"[..]));
    }
    let exec = stage.background(&request).await;
    let record = stage.ended(&exec).await;
    assert_eq!((record.outcome.as_deref(), record.exit_code), (Some("timed_out"), Some(124)));
    assert_eq!(stage.end_event(&exec).await.kind, "exec.timeout");

    // A program may choose these codes itself, and ends all the same by its own will.
    for (line, code) in [("exit 124", 124), ("exit 137", 137), ("exit 255", 255)] {
        let result = stage.sh(line).await;
        assert_eq!((result.outcome.as_str(), result.exit_code), ("exited", code), "{line}");
    }
    stage.end().await;
}

/// coding-tools-mcp#55: there was no time to clean up between the request to end and the end.
#[tokio::test]
async fn a_program_is_asked_to_end_before_it_is_made_to() {
    let stage = Stage::start_with(&[("STACYVM_LIMITS_EXEC_GRACE", "2s")]).await;
    let polite = "trap 'echo asked > marker; exit 3' TERM; echo on; while :; do sleep 0.05; done";
    let exec = stage.background(&shell(polite)).await;
    stage.wrote(&exec, "on\n").await;
    let killed = stage.client.exec_kill(&stage.id, &exec).await.unwrap();
    assert_eq!(killed.outcome.as_deref(), Some("canceled"));
    assert_eq!(stage.output("cat marker").await, "asked\n");

    let stubborn = "trap 'echo asked' TERM; echo on; while :; do sleep 0.05; echo tick; done";
    let exec = stage.background(&shell(stubborn)).await;
    stage.wrote(&exec, "on\n").await;
    let begun = Instant::now();
    let killed = stage.client.exec_kill(&stage.id, &exec).await.unwrap();
    assert_eq!(killed.outcome.as_deref(), Some("canceled"));
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    let output = stage.told(&exec).await.text();
    let (_, grace) = output.split_once("asked\n").expect("it was asked to end");
    assert!(grace.lines().filter(|line| *line == "tick").count() > 1, "no grace: {output}");
    assert!(!stage.runs("sleep"));

    let deaf = "trap '' TERM; echo on; while :; do sleep 0.05; done";
    let begun = Instant::now();
    let error = stage.refused(&timed(deaf, "500ms")).await;
    assert_eq!(error.body.details["outcome"], "timed_out");
    assert!(begun.elapsed() >= Duration::from_millis(2500), "{:?}", begun.elapsed());
    stage.end().await;
}
