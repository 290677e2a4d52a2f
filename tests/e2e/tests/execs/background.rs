//! Programs that were started to be left alone: what is known of them, said to them, and read of
//! them later.

use api::execs::Signal;

use crate::stage::{Stage, fed, numbers, shell, told};
use crate::support::eventually;

/// cloudflare/sandbox-sdk#624: there was no way to tell what still ran.
#[tokio::test]
async fn programs_in_the_background_are_listed_with_what_became_of_them() {
    let stage = Stage::start().await;
    let running = stage.background(&shell("exec sleep 600")).await;
    let failed = stage.background(&shell("echo out; echo err >&2; exit 5")).await;
    stage.ended(&failed).await;
    let argv = api::exec::ExecRequest { mode: Some("argv".into()), ..shell("no-such-program") };
    let missing = stage.background(&argv).await;
    stage.ended(&missing).await;
    let listed = stage.client.execs(&stage.id).await.unwrap();
    let facts: Vec<_> = listed
        .iter()
        .map(|it| (it.exec_id.as_str(), it.state.as_str(), it.outcome.as_deref(), it.exit_code))
        .collect();
    assert_eq!(
        facts,
        [
            (missing.as_str(), "ended", Some("start_failed"), Some(127)),
            (failed.as_str(), "ended", Some("exited"), Some(5)),
            (running.as_str(), "running", None, None),
        ]
    );
    assert!(listed.iter().all(|it| it.background && it.sandbox_id == stage.id));
    assert_eq!((listed[1].stdout_bytes, listed[1].stderr_bytes), (Some(4), Some(4)));
    assert!(listed[0].message.is_some(), "{:?}", listed[0]);
    stage.end().await;
}

/// daytona#4107: input could not be sent, or not be ended.
#[tokio::test]
async fn a_program_in_the_background_takes_input_signals_and_its_end() {
    let stage = Stage::start().await;
    let line = "while read -r line; do echo \"<$line>\"; done; trap 'echo hup; exit 3' HUP; \
                echo ready; while :; do sleep 0.05; done";
    let exec = stage.background(&fed(line)).await;
    let at = (stage.id.as_str(), exec.as_str());
    for word in ["one\n", "two\n"] {
        let taken = stage.client.exec_stdin(at, (word.into(), false)).await.unwrap();
        assert_eq!(taken.bytes, 4);
    }
    stage.wrote(&exec, "<two>\n").await;
    stage.client.exec_stdin(at, ("three".into(), false)).await.unwrap();
    stage.client.exec_stdin(at, ("\n".into(), true)).await.unwrap();
    stage.wrote(&exec, "ready\n").await;
    let closed = stage.client.exec_stdin(at, ("four\n".into(), true)).await.unwrap_err();
    assert_eq!(closed.api().unwrap().body.reason, "stdin_closed");
    stage.client.exec_signal(at, Signal::Name("HUP".into())).await.unwrap();
    let told = stage.told(&exec).await;
    assert_eq!(told.text(), "<one>\n<two>\n<three>\nready\nhup\n");
    assert_eq!((told.exit.outcome.as_str(), told.exit.exit_code), ("exited", 3));

    let ended = stage.client.exec_signal(at, Signal::Number(15)).await.unwrap_err();
    assert_eq!(ended.api().unwrap().body.reason, "exec_not_running");
    let again = stage.client.exec_kill(&stage.id, &exec).await.unwrap();
    assert_eq!(again.outcome.as_deref(), Some("exited"));
    stage.end().await;
}

/// e2b infra#2639: output of a background command was missing when somebody came for it.
#[tokio::test]
async fn output_that_is_no_longer_kept_is_a_gap_with_its_true_size() {
    const RING: u64 = 65_536;
    let stage = Stage::start_with(&[("STACYVM_LIMITS_EXEC_REPLAY_BYTES", "65536")]).await;
    let whole = numbers(50_000, "\n");
    let length = whole.len() as u64;
    let exec = stage.background(&shell("seq 1 50000; echo trouble >&2")).await;
    assert_eq!(stage.ended(&exec).await.stdout_bytes, Some(length));
    for offset in [0, 1000, length - RING - 1, length - RING, length - 10, length] {
        let told = stage.told_from(&exec, offset).await;
        let lost = (length - RING).saturating_sub(offset);
        assert_eq!(told.lost, lost, "from {offset}");
        let kept = &whole[usize::try_from(offset + lost).unwrap()..];
        assert!(told.text() == kept, "from {offset}: {} of {}", told.stdout.len(), kept.len());
        assert_eq!(told.exit.stdout_bytes, length);
        assert_eq!(told.stderr, b"trouble\n");
    }
    stage.end().await;
}

/// Any number may read, at their own pace, and each gets all of it.
#[tokio::test]
async fn many_follow_one_program_and_none_takes_from_another() {
    let stage = Stage::start().await;
    let line = "for i in 1 2 3; do echo $i; sleep 0.2; done; while [ ! -e go ]; do sleep 0.05; \
                done; echo end";
    let exec = stage.background(&shell(line)).await;
    let mut readers = Vec::new();
    for _ in 0..8 {
        let stream = stage.client.exec_output((&stage.id, &exec), (0, 0)).await.unwrap();
        readers.push(tokio::spawn(told(stream)));
    }
    stage.wrote(&exec, "3\n").await;
    stage.write("go", "").await;
    for reader in readers {
        assert_eq!(reader.await.unwrap().text(), "1\n2\n3\nend\n");
    }
    stage.end().await;
}

/// daytona#5142, cloudflare/sandbox-sdk#333: what ran in a sandbox that was deleted never ended.
#[tokio::test]
async fn programs_end_with_their_sandbox_and_it_is_said() {
    let stage = Stage::start().await;
    let line = |name: &str| shell(&format!("echo > {name}; exec sleep 600"));
    let (client, id, plain) = (stage.server.client(), stage.id.clone(), line("plain"));
    let call = tokio::spawn(async move { client.exec(&id, &plain).await });
    let stream = tokio::spawn(told(stage.stream(&line("stream")).await));
    let (_sender, receiver, socket) = stage.socket(&line("socket")).await;
    let background = stage.background(&line("background")).await;
    for name in ["plain", "stream", "socket", "background"] {
        let begun = async || stage.has(name).await;
        eventually("the program begins", begun).await;
    }
    stage.client.destroy(&stage.id).await.unwrap();
    assert_eq!(stream.await.unwrap().exit.outcome, "sandbox_lost");
    assert_eq!(crate::stage::heard(receiver).await.exit.outcome, "sandbox_lost");
    assert_eq!(call.await.unwrap().unwrap().outcome, "sandbox_lost");
    for exec in [&socket, &background] {
        let event = stage.end_event(exec).await;
        let outcome = event.data["outcome"].as_str();
        assert_eq!((event.kind.as_str(), outcome), ("exec.failed", "sandbox_lost"));
    }
    let gone = stage.client.exec_record(&stage.id, &background).await.unwrap_err();
    assert_eq!(gone.api().unwrap().status, 404);
    drop(stage.server);
    stage.world.assert_no_traces();
}
