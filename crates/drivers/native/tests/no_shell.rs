//! The agent in a root that holds nothing but itself: no shell, no library, no /proc. What an image
//! without a shell has to offer is no less.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command};
use std::time::Duration;

use futures::StreamExt;
use model::{ExecId, ExecProgram, ExecSpec, Outcome, StartFailure};
use provider::{AgentGuest, ExecEvent, Guest};

/// The agent as it is embedded: static, so that it is a program in any root.
const AGENT: &[u8] = include_bytes!(env!("STACYVM_AGENT"));

/// What the agent ends with when it is started without a configuration.
const CANNOT_START: i32 = 97;

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_program_runs_in_a_root_without_a_shell() {
    let root = tempfile::tempdir().expect("a directory can be made");
    let program = root.path().join("agent");
    fs::write(&program, AGENT).expect("a file can be written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
    fs::create_dir(root.path().join("dev")).expect("a directory can be made");
    let null = root.path().join("dev/null");
    let made = Command::new("mknod").arg(&null).args(["c", "1", "3"]).status();
    assert!(made.is_ok_and(|made| made.success()), "root can make a device");

    let sockets = tempfile::tempdir().expect("a directory can be made");
    let path = sockets.path().join("agent.sock");
    let listener = UnixListener::bind(&path).expect("a socket can be bound");
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).expect("it is open");
    let config = proto::AgentConfig {
        listen_fd: listener.as_raw_fd(),
        kill_cgroup_fd: None,
        oom_fd: None,
        uid: 0,
        gid: 0,
        env: Vec::new(),
        workdir: "/".to_owned(),
        max_execs: 4,
    };
    let config = serde_json::to_string(&config).expect("a configuration is JSON");
    let agent = Command::new("chroot").arg(root.path()).args(["/agent", &config]).spawn();
    let _agent = Running(agent.expect("chroot is installed"));
    let transport = tokio::net::UnixStream::connect(&path).await.expect("the socket listens");
    let guest = AgentGuest::open(transport).await.expect("the agent says hello");

    let direct = ExecProgram::Argv(vec!["/agent".to_owned()]);
    assert_eq!(outcome(&guest, direct).await, Outcome::Exited(CANNOT_START));
    let by_shell = outcome(&guest, ExecProgram::Shell("/agent".to_owned())).await;
    assert!(matches!(by_shell, Outcome::StartFailed(StartFailure::NotFound, _)), "{by_shell:?}");
}

async fn outcome(guest: &AgentGuest, program: ExecProgram) -> Outcome {
    let spec = ExecSpec {
        id: ExecId::random(&mut rand::rng()),
        program,
        env: Vec::new(),
        workdir: None,
        timeout: Some(Duration::from_secs(30)),
        grace: Duration::from_secs(1),
        drain: Duration::ZERO,
        ring_bytes: 1024,
        stdin: false,
        kill_on_disconnect: true,
        detached: false,
        tty: None,
        user: None,
    };
    let mut session = guest.exec(&spec).await.expect("the agent answers");
    while let Some(event) = session.events.next().await {
        if let ExecEvent::Exit(exit) = event.expect("the connection stands") {
            return exit.outcome;
        }
    }
    panic!("an exec has an end")
}
