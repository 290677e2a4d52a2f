//! Many programs at once, programs that want more than there is, and whom they run as.

use api::exec::ExecRequest;
use api::sandbox::SpawnRequest;
use futures::StreamExt;
use futures::future::join_all;

use crate::stage::{Stage, fed, shell};
use crate::support;

/// verl uni-agent#47, tinker#302: bursts collapsed, and caps were soft.
#[tokio::test]
async fn a_hundred_programs_are_independent_and_one_more_is_refused() {
    let stage = Stage::start().await;
    let requests: Vec<_> = (0..100)
        .map(|number| fed(&format!("read -r word; echo {number} $word; exit {number}")))
        .collect();
    let execs = join_all(requests.iter().map(|request| stage.background(request))).await;

    let error = stage.refused(&shell("true")).await;
    assert_eq!((error.status, error.body.reason.as_str()), (429, "too_many_execs"));
    assert_eq!(error.body.details["limit"], "limits.execs");
    let background = stage.client.exec_background(&stage.id, &shell("true"), None).await;
    assert_eq!(background.unwrap_err().api().unwrap().body.reason, "too_many_execs");

    let ends = futures::stream::iter(execs.iter().enumerate()).map(async |(number, exec)| {
        let word = format!("word-{number}\n").into_bytes();
        stage.client.exec_stdin((&stage.id, exec), (word.into(), true)).await.unwrap();
        let told = stage.told(exec).await;
        assert_eq!(told.text(), format!("{number} word-{number}\n"));
        assert_eq!(told.exit.exit_code, i32::try_from(number).unwrap());
    });
    ends.buffer_unordered(16).collect::<Vec<()>>().await;
    assert_eq!(stage.output("echo room").await, "room\n");
    stage.end().await;
}

/// microsandbox, Piston#301: a program that ran out of memory was a plain SIGKILL, or took the
/// sandbox with it.
#[tokio::test]
async fn memory_that_runs_out_is_the_programs_end_and_not_the_sandboxs() {
    let stage = Stage::start().await;
    let request = SpawnRequest { memory_mb: Some(96), ..SpawnRequest::default() };
    let id = stage.client.spawn(&request).await.unwrap().id;
    let greedy = "import time; print('on', flush=True); b = bytearray(400 << 20); print(len(b))";
    let args = Some(vec!["-c".into(), greedy.into()]);
    let argv = ExecRequest { mode: Some("argv".into()), args, ..shell("python3") };
    let result = stage.client.exec(&id, &argv).await.unwrap();
    assert_eq!((result.outcome.as_str(), result.exit_code), ("oom_killed", 137), "{result:?}");
    assert_eq!(result.stdout, "on\n");
    assert_eq!(support::output(&stage.client, &id, "echo alive").await, "alive\n");
    // The memory is there again.
    let modest = "python3 -c 'print(len(bytearray(30 << 20)))'";
    assert_eq!(support::output(&stage.client, &id, modest).await, "31457280\n");
    stage.client.destroy(&id).await.unwrap();
    stage.end().await;
}

/// Who a program is can be said by each call, and nobody becomes more than the sandbox's users are.
#[tokio::test]
async fn a_call_may_choose_another_user_of_the_sandbox_by_name_or_number() {
    let stage = Stage::start().await;
    let as_user = |user: &str, line: &str| ExecRequest { user: Some(user.into()), ..shell(line) };
    for (user, ids) in [
        ("nobody", "65534 65534 65534"),
        ("65534", "65534 65534 65534"),
        ("1000:65534", "1000 65534 65534"),
        ("user", "1000 1000 1000"),
    ] {
        let request = as_user(user, "echo $(id -u) $(id -g) $(id -G)");
        let result = stage.client.exec(&stage.id, &request).await.unwrap();
        assert_eq!(result.stdout, format!("{ids}\n"), "{user}");
    }
    // Another user cannot write where the default one can.
    let line = "touch /workspace/theirs; grep CapEff /proc/self/status";
    let result = stage.client.exec(&stage.id, &as_user("nobody", line)).await.unwrap();
    assert!(result.stderr.contains("Permission denied"), "{result:?}");
    assert_eq!(result.stdout, "CapEff:\t0000000000000000\n");
    for user in ["nobody-knows", "4000000000", "root", "0", "user:no-such-group"] {
        let error = stage.refused(&as_user(user, "id")).await;
        assert_eq!((error.status, error.body.reason.as_str()), (400, "user_invalid"), "{user}");
    }
    stage.end().await;
}
