//! Starting other programs: show the command line, wait, and turn a bad end into a failure.
//!
//! Not for programs that are measured: the benchmark spawns those itself. Used by every command.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::failure::Failure;

/// How often a bounded program is looked at while it runs.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The cargo that runs us, so that a toolchain override holds for what we start too.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a program with our own stdout and stderr; anything but exit code 0 is a failure.
pub fn run(command: &mut Command) -> Result<(), Failure> {
    let line = announce(command);
    let status = command.status().map_err(Failure::doing(format!("start `{line}`")))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("run `{line}`: {status}"))) }
}

/// As [`run`], but ends the program and all of its process group when the limit has passed.
pub fn run_within(limit: Duration, command: &mut Command) -> Result<(), Failure> {
    use std::os::unix::process::CommandExt as _;

    let line = announce(command);
    let begun = Instant::now();
    let mut child =
        command.process_group(0).spawn().map_err(Failure::doing(format!("start `{line}`")))?;
    loop {
        let ended = child.try_wait().map_err(Failure::doing(format!("wait for `{line}`")))?;
        match ended {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(Failure::new(format!("run `{line}`: {status}"))),
            None if begun.elapsed() >= limit => {
                let group = Pid::from_child(&child);
                kill_process_group(group, Signal::KILL)
                    .map_err(Failure::doing(format!("end `{line}`")))?;
                child.wait().map_err(Failure::doing(format!("wait for `{line}`")))?;
                return Err(Failure::new(format!("run `{line}` within {}s", limit.as_secs())));
            }
            None => std::thread::sleep(LOOK_EVERY),
        }
    }
}

/// Whether the program can be started and ends well; its output goes nowhere.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// What the program wrote to stdout, without the white space around it.
pub fn output(command: &mut Command) -> Result<String, Failure> {
    let line = describe(command);
    let output = command.output().map_err(Failure::doing(format!("start `{line}`")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failure::doing(format!("run `{line}`: {}", output.status))(said));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn announce(command: &Command) -> String {
    let line = describe(command);
    eprintln!("$ {line}");
    line
}

/// The command line as a person would type it, with the program by its name alone.
fn describe(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program());
    let mut line = name.to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_ends_badly_is_a_failure_that_names_it() {
        let failure = run(Command::new("/bin/sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(failure.to_string(), "run `sh -c exit 3`: exit status: 3");
    }

    #[test]
    fn a_program_that_runs_too_long_is_ended_with_its_children() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 600 & wait"]);
        let failure = run_within(Duration::from_millis(100), &mut command).unwrap_err();
        assert!(failure.to_string().ends_with("within 0s"), "{failure}");
    }

    #[test]
    fn what_a_failing_program_said_is_the_cause() {
        use std::error::Error as _;
        let failure = output(Command::new("/bin/sh").args(["-c", "echo no >&2; exit 1"]));
        assert_eq!(failure.unwrap_err().source().unwrap().to_string(), "no");
    }
}
