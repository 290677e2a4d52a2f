//! The commands as programs see them: output, errors and exit codes, against a real server over
//! the in-memory provider.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use crate::served::{Served, code, stacyvm, stderr, stdout};

#[test]
fn a_sandbox_is_made_listed_extended_and_destroyed() {
    let served = Served::start();
    assert_eq!(stdout(&served.run(&["ls"])), "No active sandboxes\n");
    let line = stdout(&served.run(&["spawn", "--metadata", "a=b"]));
    let id = line.split(' ').nth(1).unwrap().to_owned();
    assert_eq!(line, format!("Sandbox {id} spawned (provider: memory, image: host)\n"));
    let listing = stdout(&served.run(&["list"]));
    assert!(listing.starts_with("ID "), "{listing}");
    assert!(listing.contains(&id) && listing.contains("running"), "{listing}");
    let shown = stdout(&served.run(&["inspect", &id]));
    assert!(shown.lines().any(|line| line == "metadata.a      b"), "{shown}");
    let extended = stdout(&served.run(&["extend", &id, "1h"]));
    assert!(extended.starts_with(&format!("Sandbox {id} expires at ")), "{extended}");
    assert_eq!(stdout(&served.run(&["kill", &id])), format!("Sandbox {id} destroyed\n"));
    assert_eq!(stdout(&served.run(&["ls", "--json"])), "[]\n");
}

#[test]
fn an_exec_passes_output_and_the_exit_code_on() {
    let served = Served::start();
    let id = served.sandbox();
    let echoed = served.run(&["exec", &id, "--", "echo", "hello"]);
    assert_eq!(
        (stdout(&echoed), stderr(&echoed), code(&echoed)),
        ("hello\n".into(), String::new(), 0)
    );
    assert_eq!(code(&served.run(&["exec", &id, "--", "exit", "7"])), 7);
    let result = served.run(&["exec", &id, "--json", "--", "echo", "hello"]);
    let result: serde_json::Value = serde_json::from_slice(&result.stdout).unwrap();
    assert_eq!(result["stdout"], "hello\n");
    assert_eq!(result["outcome"], "exited");
    let late = served.run(&["exec", &id, "--timeout", "50ms", "--", "sleep", "30"]);
    assert_eq!(code(&late), 124);
    assert_eq!(stderr(&late), "error: the command ran over its timeout and was ended\n");
    let absent = served.run(&["exec", &id, "--", "no-such-program"]);
    assert_eq!(code(&absent), 127);
    assert!(stderr(&absent).starts_with("error: failed to start the command: "));
}

#[test]
fn a_run_leaves_no_sandbox_behind() {
    let served = Served::start();
    let output = served.run(&["run", "--", "echo", "42"]);
    assert_eq!(
        (stdout(&output), stderr(&output), code(&output)),
        ("42\n".into(), String::new(), 0)
    );
    assert_eq!(code(&served.run(&["run", "--", "exit", "3"])), 3);
    assert_eq!(stdout(&served.run(&["ls", "--json"])), "[]\n");
}

#[test]
fn a_run_that_is_asked_to_end_cleans_up_and_says_so_in_its_code() {
    let served = Served::start();
    let mut child = served.command(&["run", "--", "sleep", "60"]).spawn().unwrap();
    served.until(|listing| listing.contains("running"));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(stdout(&served.run(&["ls", "--json"])), "[]\n");
}

#[test]
fn files_travel_both_ways_byte_for_byte() {
    let served = Served::start();
    let id = served.sandbox();
    let place = tempfile::tempdir().unwrap();
    let (from, to) = (place.path().join("from.bin"), place.path().join("to.bin"));
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    fs::write(&from, &bytes).unwrap();
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    let inside = format!("{id}:/workspace/x.bin");
    for (source, target) in [(from, inside.as_str()), (inside.as_str(), to)] {
        let copied = served.run(&["cp", source, target]);
        assert_eq!((stderr(&copied), code(&copied)), (String::new(), 0));
    }
    assert_eq!(fs::read(to).unwrap(), bytes);
    assert_eq!(served.run(&["cp", &inside, "-"]).stdout, bytes);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
}

#[test]
fn standard_input_can_be_copied_into_a_file() {
    let served = Served::start();
    let inside = format!("{}:/workspace/x", served.sandbox());
    let mut command = served.command(&["cp", "-", &inside]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hello").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(stdout(&served.run(&["cp", &inside, "-"])), "hello");
}

#[test]
fn directories_travel_both_ways_with_all_that_is_in_them() {
    let served = Served::start();
    let id = served.sandbox();
    let place = tempfile::tempdir().unwrap();
    let from = place.path().join("tree");
    fs::create_dir_all(from.join("a b/empty")).unwrap();
    fs::write(from.join("a b/-rf"), [0, 255, 10]).unwrap();
    let from = from.to_str().unwrap();
    let inside = format!("{id}:/workspace/copy");
    let refused = served.run(&["cp", from, &inside]);
    assert!(stderr(&refused).contains("hint: copy it with all that is in it"));
    let back = place.path().join("back");
    for (from, to) in [(from, inside.as_str()), (inside.as_str(), back.to_str().unwrap())] {
        let copied = served.run(&["cp", "-r", from, to]);
        assert_eq!((stderr(&copied), code(&copied)), (String::new(), 0));
    }
    assert_eq!(fs::read(back.join("a b/-rf")).unwrap(), [0, 255, 10]);
    assert!(back.join("a b/empty").is_dir());
}

#[test]
fn a_copy_that_cannot_be_made_leaves_nothing_half_done() {
    let served = Served::start();
    let id = served.sandbox();
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("target").display().to_string();
    let absent = served.run(&["cp", &format!("{id}:/none"), &target]);
    assert_eq!(code(&absent), 1);
    assert!(stderr(&absent).starts_with("error: "), "{}", stderr(&absent));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    let directory = place.path().display().to_string();
    let refused = served.run(&["cp", &directory, &format!("{id}:/workspace/x")]);
    assert!(stderr(&refused).contains("is a directory\nhint: "), "{}", stderr(&refused));
    let nowhere = served.run(&["cp", "a", "b"]);
    assert!(stderr(&nowhere).starts_with("error: neither side is in a sandbox\nhint: "));
}

#[test]
fn errors_of_the_server_come_with_their_words_and_exit_codes() {
    let served = Served::start();
    let absent = served.run(&["inspect", "sb-none"]);
    assert_eq!(code(&absent), 1);
    assert!(stderr(&absent).starts_with("error: sandbox not found: sb-none\n"));
    let absent = served.run(&["--json", "inspect", "sb-none"]);
    let error: serde_json::Value = serde_json::from_slice(&absent.stderr).unwrap();
    assert_eq!(
        (&error["code"], &error["reason"]),
        (&"NOT_FOUND".into(), &"sandbox_not_found".into())
    );
    assert_eq!(code(&served.run(&["exec", "sb-none", "--", "true"])), 125);
    assert_eq!(code(&served.run(&["exec", "sb-none"])), 2);
    let id = served.sandbox();
    let killed = served.run(&["kill", "sb-none", &id]);
    assert_eq!(code(&killed), 1);
    assert_eq!(stdout(&killed), format!("Sandbox {id} destroyed\n"));
}

#[test]
fn a_server_that_is_not_there_is_named_with_a_way_out() {
    let output = stacyvm(&["ls", "--server", "http://127.0.0.1:1"]).output().unwrap();
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).starts_with("error: failed to connect to http://127.0.0.1:1: "));
    assert!(stderr(&output).contains("\nhint: start a server with `stacyvm serve`"));
    let output = stacyvm(&["ls", "--server", "nonsense"]).output().unwrap();
    assert!(stderr(&output).contains("expected http://host:port"), "{}", stderr(&output));
}

#[test]
fn the_version_and_completions_need_no_server() {
    let output = stacyvm(&["version"]).output().unwrap();
    assert_eq!(stdout(&output), concat!("stacyvm ", env!("CARGO_PKG_VERSION"), " (linux/amd64)\n"));
    let script = stdout(&stacyvm(&["completion", "bash"]).output().unwrap());
    assert!(script.contains("_stacyvm"), "{script}");
}
