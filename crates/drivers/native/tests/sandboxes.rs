//! The driver on real namespaces, as the engine uses it.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use model::{
    ExecId, ExecProgram, ExecSpec, Outcome, Reason, Resources, SandboxId, SandboxName,
    StartFailure, TtySize,
};
use native::{NativeOptions, NativeProvider};
use provider::{ExecEvent, Guest, Provider, RuntimeSpec, RuntimeStatus};
use tempfile::TempDir;

fn name() -> SandboxName {
    SandboxName { id: SandboxId::random(&mut rand::rng()), incarnation: 1 }
}

fn spec(image: &str) -> RuntimeSpec {
    let resources = Resources { memory_mib: 256, vcpus: 1, pids: 128 };
    RuntimeSpec { image: image.into(), resources, execs_max: 100 }
}

async fn native(state: &TempDir, ephemeral: bool) -> NativeProvider {
    let options = NativeOptions { state_dir: state.path().join("native"), ephemeral };
    NativeProvider::start(options).await.expect("the driver starts")
}

/// Runs a program and returns its outcome and standard output.
async fn run(guest: &Arc<dyn Guest>, argv: &[&str]) -> (Outcome, String) {
    run_spec(guest, &exec(argv)).await
}

fn exec(argv: &[&str]) -> ExecSpec {
    ExecSpec {
        id: ExecId::random(&mut rand::rng()),
        program: ExecProgram::Argv(argv.iter().map(ToString::to_string).collect()),
        env: Vec::new(),
        workdir: None,
        timeout: Some(Duration::from_secs(30)),
        grace: Duration::from_secs(1),
        drain: Duration::from_millis(200),
        ring_bytes: 1024 * 1024,
        stdin: false,
        kill_on_disconnect: true,
        detached: false,
        tty: None,
        user: None,
    }
}

async fn run_spec(guest: &Arc<dyn Guest>, spec: &ExecSpec) -> (Outcome, String) {
    let mut session = guest.exec(spec).await.expect("the program starts");
    let mut output = Vec::new();
    while let Some(event) = session.events.next().await {
        match event.expect("the connection stands") {
            ExecEvent::Stdout(bytes) => output.extend_from_slice(&bytes),
            ExecEvent::Stderr(_) => {}
            ExecEvent::Exit(exit) => {
                return (exit.outcome, String::from_utf8(output).expect("the program prints text"));
            }
        }
    }
    panic!("the exec had no end")
}

#[tokio::test]
async fn a_sandbox_is_created_used_and_destroyed() {
    let state = tempfile::tempdir().unwrap();
    let native = native(&state, false).await;
    native.probe().await.unwrap();
    let name = name();
    let handle = native.create(&name, &spec("host")).await.unwrap();
    assert_eq!(native.inspect(&name).await.unwrap(), RuntimeStatus::Running);
    let guest = native.connect(&name, &handle).await.unwrap();
    let (outcome, output) = run(&guest, &["echo", "hello"]).await;
    assert_eq!((outcome, output.as_str()), (Outcome::Exited(0), "hello\n"));
    assert!(native.usage(&name).await.unwrap().memory_limit_bytes >= 256 << 20);
    native.destroy(&name).await.unwrap();
    native.destroy(&name).await.unwrap();
    assert_eq!(native.inspect(&name).await.unwrap(), RuntimeStatus::Absent);
    assert!(!guest.is_connected() || guest.ping().await.is_err());
    native.close().await;
}

#[tokio::test]
async fn a_program_has_a_terminal_of_the_sandboxs_own_and_a_user_of_it() {
    let state = tempfile::tempdir().unwrap();
    let native = native(&state, false).await;
    let name = name();
    let handle = native.create(&name, &spec("host")).await.unwrap();
    let guest = native.connect(&name, &handle).await.unwrap();
    let line = "tty; stty size; stat -c '%u %g %a' $(tty); echo >/dev/tty; ls /dev/pts";
    let mut in_terminal = exec(&["sh", "-c", line]);
    in_terminal.tty = Some(TtySize { cols: 90, rows: 20 });
    let (outcome, output) = run_spec(&guest, &in_terminal).await;
    assert_eq!(output, "/dev/pts/0\r\n20 90\r\n1000 5 620\r\n\r\n0  ptmx\r\n");
    assert_eq!(outcome, Outcome::Exited(0));

    let mut named = exec(&["sh", "-c", "id -u; id -g; echo $USER; tty; stat -c %u $(tty)"]);
    (named.user, named.tty) = (Some("nobody".into()), in_terminal.tty);
    let (outcome, output) = run_spec(&guest, &named).await;
    assert_eq!(outcome, Outcome::Exited(0));
    assert_eq!(output, "65534\r\n65534\r\nnobody\r\n/dev/pts/0\r\n65534\r\n");
    for (user, tty) in [
        ("nobody-knows", None),
        ("root", None),
        ("4000000000", None),
        ("4000000000", in_terminal.tty),
        ("1000:4000000000", None),
    ] {
        let mut refused = exec(&["true"]);
        (refused.user, refused.tty) = (Some(user.into()), tty);
        let (outcome, _) = run_spec(&guest, &refused).await;
        let Outcome::StartFailed(StartFailure::BadUser, message) = outcome else {
            panic!("{user}: {outcome:?}")
        };
        assert!(message.contains(user), "{message}");
    }
    native.destroy(&name).await.unwrap();
    native.close().await;
}

#[tokio::test]
async fn a_sandbox_outlives_the_driver_and_is_found_again() {
    let state = tempfile::tempdir().unwrap();
    let first = native(&state, false).await;
    let name = name();
    let handle = first.create(&name, &spec("host")).await.unwrap();
    first.close().await;
    let second = native(&state, false).await;
    let listed = second.list().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].name, listed[0].status), (&name, RuntimeStatus::Running));
    let guest = second.connect(&name, &handle).await.unwrap();
    assert_eq!(run(&guest, &["true"]).await.0, Outcome::Exited(0));
    second.destroy(&name).await.unwrap();
    assert_eq!(second.list().await.unwrap(), []);
    second.close().await;
}

#[tokio::test]
async fn no_more_programs_run_at_once_than_the_spec_says() {
    let state = tempfile::tempdir().unwrap();
    let native = native(&state, true).await;
    let (name, spec) = (name(), RuntimeSpec { execs_max: 2, ..spec("host") });
    let handle = native.create(&name, &spec).await.unwrap();
    let guest = native.connect(&name, &handle).await.unwrap();
    let first = guest.exec(&exec(&["sleep", "60"])).await.unwrap();
    let second = guest.exec(&exec(&["sleep", "60"])).await.unwrap();
    let failure = guest.exec(&exec(&["true"])).await.map(drop).unwrap_err();
    assert_eq!(failure.reason, Reason::TooManyExecs);
    drop((first, second));
    native.close().await;
}

#[tokio::test]
async fn an_ephemeral_driver_takes_its_sandboxes_with_it() {
    let state = tempfile::tempdir().unwrap();
    let first = native(&state, true).await;
    first.create(&name(), &spec("host")).await.unwrap();
    first.close().await;
    let second = native(&state, true).await;
    assert_eq!(second.list().await.unwrap(), []);
    second.close().await;
}

#[tokio::test]
async fn an_unknown_image_is_refused_before_anything_is_made() {
    let state = tempfile::tempdir().unwrap();
    let native = native(&state, false).await;
    let failure = native.create(&name(), &spec("alpine:latest")).await.unwrap_err();
    assert_eq!(failure.reason, Reason::ImageNotFound);
    assert_eq!(native.list().await.unwrap(), []);
    native.close().await;
}

#[tokio::test]
async fn two_drivers_on_one_directory_are_refused() {
    let state = tempfile::tempdir().unwrap();
    let first = native(&state, false).await;
    first.probe().await.unwrap();
    let second = native(&state, false).await;
    let failure = second.probe().await.unwrap_err();
    assert_eq!(failure.reason, Reason::ProviderUnavailable);
    first.close().await;
    second.close().await;
}
