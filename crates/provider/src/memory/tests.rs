//! The test double keeps the provider's contract, as far as the engine's tests lean on it.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use model::{ExecId, ExecProgram, ExecSpec, Outcome, Resources, SandboxId};

use super::*;
use crate::guest::{ExecEvent, Offsets};

fn name() -> SandboxName {
    let id: SandboxId = "sb-aaaaaaaaaaaaaaaaaaaa".parse().unwrap();
    SandboxName { id, incarnation: 1 }
}

async fn guest(provider: &MemoryProvider) -> Arc<dyn Guest> {
    let resources = Resources { memory_mib: 64, vcpus: 1, pids: 16 };
    let spec = RuntimeSpec { image: "host".into(), resources, execs_max: 8 };
    let handle = provider.create(&name(), &spec).await.unwrap();
    provider.connect(&name(), &handle).await.unwrap()
}

fn spec(line: &str) -> ExecSpec {
    ExecSpec {
        id: "ex-aaaaaaaaaaaaaaaaaaaa".parse::<ExecId>().unwrap(),
        program: ExecProgram::Shell(line.into()),
        env: Vec::new(),
        workdir: None,
        timeout: Some(Duration::from_secs(5)),
        grace: Duration::ZERO,
        drain: Duration::ZERO,
        ring_bytes: 1024 * 1024,
        stdin: false,
        kill_on_disconnect: true,
        detached: false,
        tty: None,
        user: None,
    }
}

#[tokio::test]
async fn output_comes_before_the_exit() {
    let provider = MemoryProvider::default();
    let guest = guest(&provider).await;
    let session = guest.exec(&spec("echo one; echo two >&2; exit 3")).await.unwrap();
    let events: Vec<_> = session.events.try_collect().await.unwrap();
    assert_eq!(events[0], ExecEvent::Stdout("one\n".into()));
    assert_eq!(events[1], ExecEvent::Stderr("two\n".into()));
    assert!(matches!(&events[2], ExecEvent::Exit(exit) if exit.outcome == Outcome::Exited(3)));
}

#[tokio::test]
async fn a_program_outlives_its_connection_and_is_followed_from_an_offset() {
    let provider = MemoryProvider::default();
    let first = guest(&provider).await;
    let mut session = first.exec(&spec("echo hello; sleep 0.01; echo again")).await.unwrap();
    assert_eq!(session.events.next().await.unwrap().unwrap(), ExecEvent::Stdout("hello\n".into()));
    provider.sever(&name());
    assert!(!first.is_connected());
    assert!(session.events.next().await.unwrap().is_err());

    let second = guest(&provider).await;
    let seen = Offsets { stdout: 3, stderr: 0 };
    let session = second.attach(&spec("").id, seen).await.unwrap();
    let events: Vec<_> = session.events.try_collect().await.unwrap();
    assert_eq!(events[0], ExecEvent::Stdout("lo\n".into()));
    assert_eq!(events[1], ExecEvent::Stdout("again\n".into()));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_and_a_cancel_are_told_apart() {
    let provider = MemoryProvider::default();
    let guest = guest(&provider).await;
    for (cancel, expected) in [(false, Outcome::TimedOut), (true, Outcome::Canceled)] {
        let spec = spec("sleep 60");
        let session = guest.exec(&spec).await.unwrap();
        if cancel {
            guest.cancel(&spec.id).await.unwrap();
        }
        let events: Vec<_> = session.events.try_collect().await.unwrap();
        assert!(matches!(&events[..], [ExecEvent::Exit(exit)] if exit.outcome == expected));
    }
}

#[tokio::test]
async fn files_round_trip() {
    let provider = MemoryProvider::default();
    let guest = guest(&provider).await;
    let path = "/workspace/a/b".parse().unwrap();
    let options = crate::guest::WriteOptions { mode: None, parents: true, only: None };
    let body = stream::iter([Ok("xy".into()), Ok("z".into())]).boxed();
    assert_eq!(guest.write(&path, options, body).await.unwrap().bytes, 3);
    let range = crate::guest::ByteRange { offset: 1, length: Some(1) };
    let (info, body) = guest.read(&path, range).await.unwrap();
    let bytes: Vec<_> = body.try_collect().await.unwrap();
    assert_eq!((info.size, bytes.concat()), (3, b"y".to_vec()));
    let glob = model::FileOp::Glob { pattern: "/work*/**/b".parse().unwrap(), limit: 9 };
    let reply = guest.fs(&glob).await.unwrap();
    assert_eq!(reply, model::FileReply::Paths(vec!["/workspace/a/b".into()]));
}

#[tokio::test]
async fn a_broken_agent_is_seen_and_an_absent_runtime_is_destroyed_again() {
    let provider = MemoryProvider::default();
    guest(&provider).await;
    provider.break_agent(&name());
    assert_eq!(provider.inspect(&name()).await.unwrap(), RuntimeStatus::Broken);
    provider.destroy(&name()).await.unwrap();
    provider.destroy(&name()).await.unwrap();
    assert_eq!(provider.inspect(&name()).await.unwrap(), RuntimeStatus::Absent);
}
