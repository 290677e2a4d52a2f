//! Ending everything that an exec started, and nothing else.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proto::{Outcome, Reply, Request};

use crate::client::{Client, Finished, shell};
use crate::harness::{Agent, Options};

/// A way to tell what an exec started.
pub enum Mode {
    Cgroup(Cgroup),
    Keeper,
}

/// A cgroup of the test's own, removed with it.
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// One of the unified hierarchy; none where the test may not make one.
    fn new() -> Option<Self> {
        Self::below(&["/sys/fs/cgroup/unified", "/sys/fs/cgroup"])
    }

    /// One of version 1, as the native driver gives the agent where there is one.
    fn legacy() -> Option<Self> {
        Self::below(&["/sys/fs/cgroup/pids"])
    }

    fn below(roots: &[&str]) -> Option<Self> {
        let root = roots.iter().find(|root| Path::new(root).join("cgroup.procs").exists())?;
        let path = Path::new(root).join(format!("agent-test-{}", uniquely()));
        std::fs::create_dir(&path).ok()?;
        Some(Self(path))
    }

    fn children(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap().flatten();
        entries
            .filter(|entry| entry.file_type().unwrap().is_dir())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("cgroup.kill"), "1");
        let deadline = Instant::now() + Duration::from_secs(5);
        for child in self.children() {
            while std::fs::remove_dir(self.0.join(&child)).is_err() && Instant::now() < deadline {
                std::thread::yield_now();
            }
        }
        while std::fs::remove_dir(&self.0).is_err() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

fn uniquely() -> String {
    let dir = tempfile::tempdir().unwrap();
    dir.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.').to_owned()
}

pub fn in_every_mode(check: impl Fn(&Agent, &mut Client, &Mode)) {
    let cgroups = [Cgroup::new(), Cgroup::legacy()].map(|cgroup| cgroup.map(Mode::Cgroup));
    let modes = cgroups.into_iter().chain([Some(Mode::Keeper)]);
    for mode in modes.flatten() {
        let kill_cgroup = match &mode {
            Mode::Cgroup(cgroup) => Some(cgroup.0.clone()),
            Mode::Keeper => None,
        };
        let agent = Agent::with(&Options { kill_cgroup, ..Options::default() });
        let mut client = agent.connect();
        check(&agent, &mut client, &mode);
        drop((client, agent));
    }
}

/// Whether a process lives whose command line carries the marker.
pub fn lives(marker: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).split('\0').any(|word| word == marker))
    })
}

/// A number of seconds that no other test sleeps.
pub fn marker() -> String {
    use std::hash::{BuildHasher, Hasher};
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("{}", 100_000_000 + random % 800_000_000)
}

/// Starts a process in each way that is known to escape. The pause in it lets them get away, which
/// makes the attack harder; no check depends on its length.
fn escapes(marker: &str) -> String {
    format!(
        "sleep {marker} & setsid sleep {marker} & (setsid sh -c 'sleep {marker} & exit' &) ; \
         nohup sleep {marker} >/dev/null 2>&1 & \
         (trap '' TERM HUP; setsid sh -c 'sleep {marker} & wait; sleep {marker}') & \
         (setsid setsid sh -c '(setsid sleep {marker} >/dev/null 2>&1 </dev/null &)' &) ; \
         sleep 0.3; echo ready; "
    )
}

#[test]
fn a_timeout_ends_the_whole_tree() {
    in_every_mode(|_, client, _| {
        let marker = marker();
        let mut start = shell(&(escapes(&marker) + "wait"));
        (start.timeout_ms, start.grace_ms) = (Some(900), 300);
        let begun = Instant::now();
        let done = client.run(start);
        let took = begun.elapsed();
        assert_eq!(done.exit.outcome, Outcome::TimedOut);
        assert_eq!(done.text(), "ready\n");
        assert!(!lives(&marker), "something survived");
        assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(3));
    });
}

#[test]
fn a_timeout_frees_the_ports_of_what_it_ends() {
    in_every_mode(|_, client, _| {
        let listen = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); \
                      print(s.getsockname()[1], flush=True); time.sleep(600)";
        let mut start = shell(&format!("setsid python3 -c \"{listen}\" & wait"));
        (start.timeout_ms, start.grace_ms) = (Some(1500), 300);
        let done = client.run(start);
        assert_eq!(done.exit.outcome, Outcome::TimedOut);
        let port: u16 = done.text().trim().parse().expect("the program has printed its port");
        std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port is free again");
    });
}

#[test]
fn a_timeout_is_one_even_if_the_program_ends_well_on_term() {
    in_every_mode(|_, client, _| {
        let mut start =
            shell("trap 'echo bye; exit 0' TERM; echo on; while :; do sleep 0.05; done");
        (start.timeout_ms, start.grace_ms) = (Some(200), 20_000);
        let done = client.run(start);
        assert_eq!(
            (done.exit.outcome.clone(), done.text()),
            (Outcome::TimedOut, "on\nbye\n".into())
        );
    });
}

#[test]
fn a_cancel_ends_the_whole_tree_and_nothing_else() {
    in_every_mode(|_, client, _| {
        let (ours, theirs) = (marker(), marker());
        let other = shell(&format!("sleep {theirs}"));
        let other_id = other.exec_id.clone();
        let other_stream = client.start(other);
        let mut start = shell(&(escapes(&ours) + "wait"));
        start.grace_ms = 100;
        let id = start.exec_id.clone();
        let stream = client.start(start);
        assert_eq!(client.read_output(stream, 6), b"ready\n");
        wait_until(|| lives(&theirs));
        assert_eq!(client.ask(&Request::Cancel { exec_id: id }), Reply::Done);
        assert_eq!(client.finish(stream).exit.outcome, Outcome::Canceled);
        assert!(!lives(&ours), "something survived");
        assert!(lives(&theirs), "another exec was ended");
        assert_eq!(client.ask(&Request::Cancel { exec_id: other_id }), Reply::Done);
        assert_eq!(client.finish(other_stream).exit.outcome, Outcome::Canceled);
    });
}

#[test]
fn a_child_that_holds_the_output_does_not_hold_the_answer_and_lives_on() {
    in_every_mode(|_, client, mode| {
        let marker = marker();
        let start = shell(&format!("echo said; setsid sleep {marker} & exit 4"));
        let id = start.exec_id.clone();
        let begun = Instant::now();
        let Finished { stdout, exit, .. } = client.run(start);
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(
            (stdout.as_slice(), exit.outcome),
            (&b"said\n"[..], Outcome::Exited { code: 4 })
        );
        // It may be on its way into its program still.
        wait_until(|| lives(&marker));
        if let Mode::Cgroup(cgroup) = mode {
            assert_eq!(cgroup.children(), [format!("exec-{id}")]);
        }
        // A cancel after the end is for the survivors.
        assert_eq!(client.ask(&Request::Cancel { exec_id: id }), Reply::Done);
        wait_until(|| !lives(&marker));
    });
}

#[test]
fn survivors_may_go_on_printing() {
    in_every_mode(|_, client, _| {
        let start = shell("(sleep 0.5; echo late; echo later) & exit 0");
        client.run(start);
        wait_until(|| {
            let Reply::Console { lines } = client.ask(&Request::Console { lines: 10 }) else {
                panic!("a console")
            };
            lines.iter().any(|line| line == "later")
        });
    });
}

#[test]
fn an_exec_may_end_with_its_connection() {
    in_every_mode(|agent, client, _| {
        let (bound, free) = (marker(), marker());
        let mut other = agent.connect();
        let mut start = shell(&format!("echo on; sleep {bound}"));
        (start.end_with_connection, start.grace_ms) = (true, 100);
        let id = start.exec_id.clone();
        let stream = other.start(start);
        assert_eq!(other.read_output(stream, 3), b"on\n");
        let free_stream = other.start(shell(&format!("echo on; sleep {free}")));
        assert_eq!(other.read_output(free_stream, 3), b"on\n");
        wait_until(|| lives(&bound) && lives(&free));
        drop(other);
        wait_until(|| !lives(&bound));
        assert!(lives(&free));
        let (stream, _) = client.attach(&id, [0, 0]);
        assert_eq!(client.finish(stream).exit.outcome, Outcome::Canceled);
    });
}

#[test]
fn nothing_is_left_of_execs_that_have_ended() {
    let Some(cgroup) = Cgroup::new() else { return };
    let agent = Agent::with(&Options { kill_cgroup: Some(cgroup.0.clone()), ..Options::default() });
    let mut client = agent.connect();
    for _ in 0..20 {
        client.shell("true");
    }
    wait_until(|| cgroup.children().is_empty());
    drop(agent);
}

#[test]
fn orphans_are_reaped() {
    let agent = Agent::start();
    let mut client = agent.connect();
    client.shell("for i in 1 2 3 4 5; do (setsid sh -c 'exit 1' &) ; done; sleep 0.1");
    let zombies = || {
        std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            std::fs::read_to_string(entry.path().join("stat"))
                .is_ok_and(|stat| stat.contains(&format!(") Z {} ", agent.pid())))
        })
    };
    wait_until(|| !zombies());
}

pub fn wait_until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "it does not come true");
        std::thread::yield_now();
    }
}
