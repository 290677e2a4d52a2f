//! Programs and a server that is killed: they live on, and what they do is known when it is back.

use std::time::Duration;

use api::sandbox::SpawnRequest;

use crate::stage::{NONE, Stage, fed, shell};
use crate::support::eventually;

/// Prints numbers until it is told to stop.
const COUNT: &str = "i=0; while [ ! -e go ]; do echo $i; i=$((i+1)); sleep 0.02; done; echo end $i";

/// docker/sbx-releases#109, e2b infra#3199: a restart of the control plane lost what ran.
#[tokio::test]
async fn a_program_goes_on_while_its_server_is_killed_and_no_output_is_missing() {
    let stage = Stage::start().await;
    let exec = stage.background(&shell(COUNT)).await;
    stage.wrote(&exec, "\n5\n").await;
    let stage = stage.restarted();
    let record = stage.record(&exec).await;
    assert_eq!((record.state.as_str(), record.background), ("running", true));
    stage.wrote(&exec, "\n40\n").await;
    stage.write("go", "").await;
    let told = stage.told(&exec).await;
    let text = told.text();
    let (numbers, end) = text.trim_end().rsplit_once('\n').expect("more than one line");
    let count = numbers.lines().count();
    let expected: Vec<_> = (0..count).map(|number| number.to_string()).collect();
    assert_eq!(numbers, expected.join("\n"));
    assert_eq!(end, format!("end {count}"));
    let record = stage.ended(&exec).await;
    assert_eq!(record.stdout_bytes, Some(told.stdout.len() as u64));
    assert_eq!(stage.client.execs(&stage.id).await.unwrap(), [record]);

    // Replay from an offset, after one more restart, when it has ended.
    let stage = stage.restarted();
    for offset in [0, 1, 7, text.len() as u64 - 3, text.len() as u64] {
        let rest = stage.told_from(&exec, offset).await;
        assert_eq!(rest.text(), text[usize::try_from(offset).unwrap()..]);
        assert_eq!((rest.lost, rest.exit.exit_code), (0, 0));
    }
    stage.end().await;
}

/// cloudflare/sandbox-sdk#781: what was started before a restart could not be reached after it.
#[tokio::test]
async fn input_signals_and_a_kill_reach_a_program_after_a_restart() {
    let stage = Stage::start_with(&[("STACYVM_LIMITS_EXEC_GRACE", "500ms")]).await;
    let reader =
        stage.background(&fed("while read -r it; do echo \"<$it>\"; done; echo bye")).await;
    let trap = "trap 'echo usr' USR1; echo on; while :; do sleep 0.05; done";
    let trapper = stage.background(&shell(trap)).await;
    stage.client.exec_stdin((&stage.id, &reader), ("a\n".into(), false)).await.unwrap();
    stage.wrote(&reader, "<a>\n").await;
    stage.wrote(&trapper, "on\n").await;

    let stage = stage.restarted();
    stage.client.exec_stdin((&stage.id, &reader), ("b\nc".into(), false)).await.unwrap();
    stage.client.exec_stdin((&stage.id, &reader), ("\n".into(), true)).await.unwrap();
    assert_eq!(stage.told(&reader).await.text(), "<a>\n<b>\n<c>\nbye\n");
    let signal = api::execs::Signal::Name("SIGUSR1".into());
    stage.client.exec_signal((&stage.id, &trapper), signal).await.unwrap();
    stage.wrote(&trapper, "usr\n").await;
    let killed = stage.client.exec_kill(&stage.id, &trapper).await.unwrap();
    assert_eq!((killed.state.as_str(), killed.outcome.as_deref()), ("ended", Some("canceled")));
    assert_eq!(stage.programs(), NONE);
    assert_eq!(stage.ended(&trapper).await.outcome.as_deref(), Some("canceled"));
    stage.end().await;
}

/// OpenSandbox#1200: what happened while the control plane was down was never known.
#[tokio::test]
async fn the_true_end_of_a_program_is_known_that_ended_while_the_server_was_down() {
    let mut stage = Stage::start_with(&[("STACYVM_LIMITS_EXEC_GRACE", "500ms")]).await;
    let exits = stage.background(&shell("echo on; sleep 2; echo off; exit 5")).await;
    let dies = stage.background(&shell("echo on; sleep 2; kill -9 $$")).await;
    let times_out = crate::stage::timed("echo on; sleep 600", "2s");
    let times_out = stage.background(&times_out).await;
    for exec in [&exits, &dies, &times_out] {
        stage.wrote(exec, "on\n").await;
    }
    stage.server.kill();
    let over = async || stage.programs().is_empty();
    eventually("the programs end without a server", over).await;
    let stage = stage.restarted();
    for (exec, outcome, code, signal, bytes) in [
        (&exits, "exited", 5, None, 7),
        (&dies, "signaled", 137, Some(9), 3),
        (&times_out, "timed_out", 124, None, 3),
    ] {
        let record = stage.ended(exec).await;
        assert_eq!(record.outcome.as_deref(), Some(outcome), "{record:?}");
        assert_eq!((record.exit_code, record.stdout_bytes), (Some(code), Some(bytes)));
        if signal.is_some() {
            assert_eq!(record.signal, signal);
        }
        let told = stage.told(exec).await;
        assert_eq!((told.exit.outcome.as_str(), told.stdout.len() as u64), (outcome, bytes));
        assert_eq!(stage.end_event(exec).await.data["outcome"], outcome);
    }
    stage.end().await;
}

/// OpenSandbox#1570, open-instruct#1887: a request whose answer was lost was done twice.
#[tokio::test]
async fn a_background_program_is_started_once_however_often_and_to_whom_it_is_sent() {
    let stage = Stage::start().await;
    let request = shell("echo x >> starts; exec sleep 600");
    let start = async |stage: &Stage, key: &str| {
        let exec = stage.client.exec_background(&stage.id, &request, Some(key)).await;
        exec.expect("the program starts").exec_id
    };
    let first = start(&stage, "job-1").await;
    assert_eq!(start(&stage, "job-1").await, first);
    let stage = stage.restarted();
    assert_eq!(start(&stage, "job-1").await, first);
    let other = start(&stage, "job-2").await;
    assert_ne!(other, first);
    let twice = async || stage.output("wc -l < starts").await.trim() == "2";
    eventually("both have begun", twice).await;
    assert_eq!(stage.client.execs(&stage.id).await.unwrap().len(), 2);

    let another = shell("echo y");
    let reused = stage.client.exec_background(&stage.id, &another, Some("job-1")).await;
    assert_eq!(reused.unwrap_err().api().unwrap().body.reason, "idempotency_key_reused");
    stage.end().await;
}

/// open-instruct#1887: the answer was a failure, and the program was there.
#[tokio::test]
async fn a_start_that_a_kill_cuts_off_is_not_done_twice_by_its_retry() {
    let mut stage = Stage::start().await;
    for round in 0..6_u64 {
        let (client, id) = (stage.server.client(), stage.id.clone());
        let request = shell(&format!("echo x >> starts-{round}; exec sleep 600"));
        let (key, sent) = (format!("round-{round}"), request.clone());
        let call =
            tokio::spawn(async move { client.exec_background(&id, &sent, Some(&key)).await });
        // Later in each round, so that every step of a start is hit in some round.
        tokio::time::sleep(Duration::from_millis(round * 3)).await;
        stage.server.kill();
        let answered = call.await.unwrap().ok();
        stage = stage.restarted();
        let key = format!("round-{round}");
        let again = stage.client.exec_background(&stage.id, &request, Some(&key)).await.unwrap();
        if let Some(first) = answered {
            assert_eq!(first.exec_id, again.exec_id);
        }
        let starts = format!("cat starts-{round} 2>/dev/null | wc -l");
        let known = async || {
            let record = stage.record(&again.exec_id).await;
            let starts = stage.output(&starts).await;
            match record.outcome.as_deref() {
                None => record.state == "running" && starts.trim() == "1",
                Some(outcome) => outcome == "start_failed" && starts.trim() == "0",
            }
        };
        eventually("it runs once, or is said not to have been started", known).await;
    }
    stage.end().await;
}

/// OpenSandbox#1570: a create that was sent again made another sandbox.
#[tokio::test]
async fn a_create_that_is_sent_again_to_the_next_server_makes_no_other_sandbox() {
    let mut stage = Stage::start().await;
    let request = SpawnRequest { ttl: Some("10m".into()), ..SpawnRequest::default() };
    let first = stage.client.spawn_once(&request, "run-1").await.unwrap();
    stage = stage.restarted();
    let again = stage.client.spawn_once(&request, "run-1").await.unwrap();
    assert_eq!((&again.id, again.state.as_str()), (&first.id, "running"));
    assert_eq!(stage.client.list().await.unwrap().len(), 2);
    stage.client.destroy(&first.id).await.unwrap();

    for round in 0..4_u64 {
        let (client, sent) = (stage.server.client(), request.clone());
        let key = format!("round-{round}");
        let call = tokio::spawn(async move { client.spawn_once(&sent, &key).await });
        tokio::time::sleep(Duration::from_millis(round * 20)).await;
        stage.server.kill();
        let answered = call.await.unwrap().ok();
        stage = stage.restarted();
        let key = format!("round-{round}");
        let again = stage.client.spawn_once(&request, &key).await;
        let rows = stage.client.list().await.unwrap();
        let others: Vec<_> = rows.iter().filter(|row| row.id != stage.id).collect();
        assert!(others.len() <= 1, "{others:?}");
        match again {
            Ok(sandbox) => {
                assert!(answered.is_none_or(|first| first.id == sandbox.id));
                assert_eq!(others.len(), 1, "{others:?}");
            }
            // The server that was asked first died before the sandbox was there.
            Err(error) => assert!(error.api().is_some() && answered.is_none(), "{error:?}"),
        }
        for row in others {
            stage.client.destroy(&row.id).await.unwrap();
        }
    }
    stage.end().await;
}
