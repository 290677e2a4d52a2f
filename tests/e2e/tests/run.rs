//! `stacyvm run`: a whole life in one command, without a server.

#[expect(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};

use support::World;
use testkit::{Command, binary};

fn run(world: &World, args: &[&str]) -> Output {
    command(world, args).output().expect("the binary runs")
}

fn command(world: &World, args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.arg("--data-dir").arg(world.data_dir());
    command.current_dir(world.path("")).env("HOME", world.path("")).stdin(Stdio::null());
    // Whatever server may run on this machine is not meant.
    command.args(["run", "--local"]).args(args);
    command
}

fn assert_nothing_is_left(world: &World) {
    world.assert_no_traces();
    let entries = std::fs::read_dir(world.data_dir().join("run")).into_iter().flatten();
    let left: Vec<_> = entries
        .map(|entry| entry.expect("a directory can be read").file_name())
        .filter(|name| name != "lock")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_readme_command_prints_42_and_leaves_nothing() {
    let world = World::new();
    let output = run(&world, &["--", "python3", "-c", "print(40 + 2)"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "42\n");
    assert_eq!(output.status.code(), Some(0));
    assert_nothing_is_left(&world);
}

#[test]
fn the_exit_code_is_the_programs() {
    let world = World::new();
    for (args, code) in [
        (&["--", "sh", "-c", "exit 7"][..], 7),
        (&["--", "sh", "-c", "kill -9 $$"], 137),
        (&["--timeout", "200ms", "--", "sleep", "60"], 124),
        (&["--", "no-such-program"], 127),
        (&["--", "/etc/passwd"], 126),
        (&["--image", "no-such-image", "--", "true"], 125),
    ] {
        let output = run(&world, args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
    }
    assert_nothing_is_left(&world);
}

#[test]
fn environment_and_arguments_arrive_unchanged() {
    let world = World::new();
    let output = run(
        &world,
        &["-e", "A=b c", "-e", "Q=it's", "--", "sh", "-c", "echo \"$A|$Q|$1\"", "x", "*"],
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), "b c|it's|*\n");
}

#[test]
fn output_that_is_not_text_arrives_unchanged() {
    let world = World::new();
    let output = run(
        &world,
        &["--", "python3", "-c", "import sys; sys.stdout.buffer.write(bytes(range(256)) * 5000)"],
    );
    let expected: Vec<u8> = (0..=255).collect::<Vec<u8>>().repeat(5000);
    assert!(output.stdout == expected, "{} bytes came", output.stdout.len());
}

#[test]
fn the_sandbox_ends_with_a_command_that_is_killed() {
    let world = World::new();
    let mut child = command(&world, &["--", "sh", "-c", "echo started; sleep 600"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "started\n");
    assert!(!testkit::traces(&world.data_dir()).is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(support::eventually("the sandbox ends", async || {
        testkit::traces(&world.data_dir()).is_empty()
    }));
    // The private directory goes with the next run.
    assert_eq!(run(&world, &["--", "true"]).status.code(), Some(0));
    assert_nothing_is_left(&world);
}

#[test]
fn an_interrupted_command_cleans_up_and_says_so_by_its_code() {
    let world = World::new();
    let mut child = command(&world, &["--", "sh", "-c", "echo started; sleep 600"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_nothing_is_left(&world);
}
