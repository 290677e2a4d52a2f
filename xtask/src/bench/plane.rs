//! A running `stacyvm serve` with a data directory of its own, and the requests that are measured.
//!
//! The server gets an empty environment and an empty home, so that no configuration of this
//! machine takes part. Stopped by signal, as an operator does; what it leaves is removed with its
//! directory.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::failure::Failure;

use super::http::{Answer, Connection};
use super::samples::Samples;
use super::subject::{Measure, PROGRAM};

/// What the server says once it answers.
const LISTENING: &str = "listening on http://";
/// A server that has said nothing by then will not.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Time for the server to end what it runs.
const STOP_LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

const SANDBOXES: &str = "/api/v1/sandboxes";

/// The server under measurement. Dropped without [`Plane::stop`] it is killed.
pub struct Plane {
    child: Child,
    connection: Connection,
    /// Removed when this is dropped.
    _home: tempfile::TempDir,
}

impl Plane {
    /// Starts the program, which is to be `stacyvm`, and waits until it listens.
    pub fn start(program: &mut Command) -> Result<Self, Failure> {
        let home = tempfile::Builder::new()
            .prefix("stacyvm-bench-")
            .tempdir()
            .map_err(Failure::doing("make a data directory"))?;
        let mut child = program
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(home.path().join("data"))
            .current_dir(home.path())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Failure::doing("start the server"))?;
        match listening(&mut child).and_then(Connection::open) {
            Ok(connection) => Ok(Self { child, connection, _home: home }),
            Err(failure) => {
                end(&mut child)?;
                Err(failure)
            }
        }
    }

    /// Connects anew: the server closes a connection on which nothing was asked for a while.
    pub fn reconnect(&mut self) -> Result<(), Failure> {
        self.connection = Connection::open(self.connection.address())?;
        Ok(())
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.connection.address()
    }

    /// The process of the server.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Creates a sandbox and returns its id. Answered when the sandbox runs.
    pub fn create(&mut self) -> Result<String, Failure> {
        let answer = self.ask("POST", SANDBOXES, &json!({ "image": "host" }))?;
        let id = answer["id"].as_str();
        id.map(str::to_owned).ok_or_else(|| Failure::new("find the id of the new sandbox"))
    }

    /// Runs the program in the sandbox, and says how long the answer took.
    pub fn exec(&mut self, id: &str) -> Result<Duration, Failure> {
        let body = json!({ "command": PROGRAM, "mode": "argv" });
        let begun = Instant::now();
        let answer = self.ask("POST", &format!("{SANDBOXES}/{id}/exec"), &body)?;
        let took = begun.elapsed();
        if answer["exit_code"] == 0 {
            Ok(took)
        } else {
            Err(Failure::new(format!("run {PROGRAM} in a sandbox: {answer}")))
        }
    }

    /// Deletes the sandbox. Answered when it is gone.
    pub fn delete(&mut self, id: &str) -> Result<(), Failure> {
        self.ask("DELETE", &format!("{SANDBOXES}/{id}"), &Value::Null).map(drop)
    }

    /// A whole life, with its parts.
    pub fn cycle(&mut self, samples: &mut Samples) -> Result<(), Failure> {
        let begun = Instant::now();
        let id = self.create()?;
        let created = begun.elapsed();
        let ran = self.exec(&id)?;
        let deleting = Instant::now();
        self.delete(&id)?;
        samples.add(Measure::Delete, deleting.elapsed());
        samples.add(Measure::Cycle, begun.elapsed());
        samples.add(Measure::Create, created);
        samples.add(Measure::FirstExec, ran);
        Ok(())
    }

    /// Deletes what is left, asks the server to end, and waits until it has.
    pub fn stop(mut self) -> Result<(), Failure> {
        self.clear()?;
        end(&mut self.child)
    }

    /// Sandboxes outlive their server, so a run that failed has to delete its own.
    fn clear(&mut self) -> Result<(), Failure> {
        let answer = self.ask("GET", SANDBOXES, &Value::Null)?;
        let left = answer.as_array().map(Vec::as_slice).unwrap_or_default();
        for id in left.iter().filter_map(|sandbox| sandbox["id"].as_str()) {
            self.delete(id)?;
        }
        Ok(())
    }

    fn ask(&mut self, method: &str, path: &str, body: &Value) -> Result<Value, Failure> {
        let Answer { status, body } = self.connection.ask(method, path, body)?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        Err(Failure::new(format!("use the server: {method} {path} answered {status} {body}")))
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return;
        }
        for result in [self.clear(), end(&mut self.child)] {
            if let Err(failure) = result {
                eprintln!("warning: failed to {failure}");
            }
        }
    }
}

/// Waits until the server says where it listens.
fn listening(child: &mut Child) -> Result<SocketAddr, Failure> {
    let stderr = child.stderr.take().ok_or_else(|| Failure::new("read the server's stderr"))?;
    let (say, said) = mpsc::channel();
    // Ends with the server, which holds the other end of the pipe.
    std::thread::spawn(move || repeat(stderr, &say));
    let begun = Instant::now();
    let mut heard = Vec::new();
    while let Some(left) = START_LIMIT.checked_sub(begun.elapsed()) {
        let Ok(line) = said.recv_timeout(left) else { break };
        if let Some((_, address)) = line.split_once(LISTENING) {
            let text = address.split(['/', ' ', '"']).next().unwrap_or_default();
            return text.parse().map_err(Failure::doing(format!("read the address in `{line}`")));
        }
        heard.push(line);
    }
    Err(Failure::new(format!("hear where the server listens; it said: {}", heard.join(" | "))))
}

/// Reads the server's talk until it ends, so that the pipe never fills.
fn repeat(stderr: ChildStderr, say: &mpsc::Sender<String>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        // Nobody listens any more once the address is known.
        drop(say.send(line));
    }
}

/// Ends the server by the signal that an operator would use, or by force when that takes too long.
fn end(child: &mut Child) -> Result<(), Failure> {
    let doing = || Failure::doing("stop the server");
    if child.try_wait().map_err(doing())?.is_some() {
        return Ok(());
    }
    kill_process(Pid::from_child(child), Signal::TERM)
        .map_err(Failure::doing("signal the server"))?;
    let begun = Instant::now();
    while begun.elapsed() < STOP_LIMIT {
        if child.try_wait().map_err(doing())?.is_some() {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    child.kill().map_err(doing())?;
    child.wait().map_err(doing())?;
    Err(Failure::new(format!("stop the server within {}s", STOP_LIMIT.as_secs())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A program that takes the place of the server and says these lines.
    fn start(script: &str) -> Result<Plane, Failure> {
        Plane::start(Command::new("/bin/sh").args(["-c", script]))
    }

    #[test]
    fn a_server_that_does_not_start_is_quoted() {
        let failure = start("echo 'error: no such disk' >&2").err().unwrap();
        assert!(failure.to_string().ends_with("it said: error: no such disk"), "{failure}");
    }

    #[test]
    fn the_address_is_found_in_what_the_server_says() {
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = peer.local_addr().unwrap();
        let mut plane =
            start(&format!("echo hello >&2; echo 'listening on http://{address}' >&2; exec cat"))
                .unwrap();
        assert!(peer.accept().is_ok());
        end(&mut plane.child).unwrap();
    }
}
