//! Signals to execs: whom they reach, and what is no signal.

use proto::{GuestErrorKind, Outcome, Reply, Request};

use crate::client::{argv, shell};
use crate::kill::{in_every_mode, lives, marker, wait_until};

const SIGINT: i32 = 2;
const SIGUSR1: i32 = 10;
const SIGTERM: i32 = 15;
const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;

#[test]
fn a_signal_ends_a_program_and_is_told_as_one() {
    in_every_mode(|_, client, _| {
        for signal in [SIGTERM, SIGINT, 9, 64] {
            let start = argv(&["sleep", "100"]);
            let id = start.exec_id.clone();
            let stream = client.start(start);
            assert_eq!(client.signal(&id, signal), Reply::Done);
            assert_eq!(client.finish(stream).exit.outcome, Outcome::Signaled { signal });
            let request = Request::Signal { exec_id: id, signal };
            assert_eq!(client.error(&request), GuestErrorKind::NotRunning);
        }
    });
}

#[test]
fn a_program_may_handle_a_signal_and_is_stopped_and_continued() {
    in_every_mode(|_, client, _| {
        let start =
            shell("exec 2>/dev/null; trap 'echo usr1' USR1; echo on; while :; do sleep 0.02; done");
        let id = start.exec_id.clone();
        let stream = client.start(start);
        client.read_until(stream, "on\n");
        assert_eq!(client.signal(&id, SIGUSR1), Reply::Done);
        client.read_until(stream, "usr1\n");
        assert_eq!(client.signal(&id, SIGSTOP), Reply::Done);
        assert_eq!(client.signal(&id, SIGUSR1), Reply::Done);
        // Stopped, it says nothing: what it would say first comes after the next thing asked.
        assert_eq!(client.shell("echo other").text(), "other\n");
        assert_eq!(client.signal(&id, SIGCONT), Reply::Done);
        client.read_until(stream, "usr1\n");
        // A stopped program is still ended.
        assert_eq!(client.signal(&id, SIGSTOP), Reply::Done);
        assert_eq!(client.ask(&Request::Cancel { exec_id: id }), Reply::Done);
        assert_eq!(client.finish(stream).exit.outcome, Outcome::Canceled);
    });
}

#[test]
fn a_signal_reaches_the_whole_group_and_no_other_exec() {
    in_every_mode(|_, client, _| {
        let (ours, theirs) = (marker(), marker());
        client.start(argv(&["sleep", &theirs]));
        let start = shell(&format!("sleep {ours} & sleep {ours}; wait"));
        let id = start.exec_id.clone();
        let stream = client.start(start);
        wait_until(|| lives(&ours) && lives(&theirs));
        assert_eq!(client.signal(&id, SIGTERM), Reply::Done);
        let done = client.finish(stream);
        assert_eq!(done.exit.outcome, Outcome::Signaled { signal: SIGTERM });
        wait_until(|| !lives(&ours));
        assert!(lives(&theirs));
    });
}

#[test]
fn what_is_no_signal_or_no_exec_is_refused() {
    in_every_mode(|_, client, _| {
        let start = argv(&["sleep", "100"]);
        let id = start.exec_id.clone();
        client.start(start);
        for signal in [0, -1, 65, i32::MAX, i32::MIN] {
            let request = Request::Signal { exec_id: id.clone(), signal };
            assert_eq!(client.error(&request), GuestErrorKind::Invalid);
        }
        let request = Request::Signal { exec_id: "none".into(), signal: 15 };
        assert_eq!(client.error(&request), GuestErrorKind::NoSuchExec);
    });
}

#[test]
fn ends_are_told_right_however_a_program_is_watched() {
    in_every_mode(|_, client, _| {
        assert_eq!(client.shell("exit 200").exit.outcome, Outcome::Exited { code: 200 });
        let done = client.shell("kill -SEGV $$");
        assert_eq!(done.exit.outcome, Outcome::Signaled { signal: 11 });
        let done = client.shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done");
        assert!(done.exit.usage.cpu_us > 0 && done.exit.usage.memory_peak_bytes > 0);
    });
}
