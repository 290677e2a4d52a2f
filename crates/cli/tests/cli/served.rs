//! A server of a test's own, in its process, and the program under test as its client.

#![expect(clippy::unwrap_used, reason = "a fixture that fails, fails its test")]

use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Engine, EngineOptions};
use model::SystemClock;
use provider::{MemoryProvider, Provider};
use server::{Server, ServerOptions};
use store::Store;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Far above what anything here takes; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server on a free port.
pub struct Served {
    url: String,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
    runtime: Runtime,
}

impl Served {
    pub fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let (stop, stopped) = oneshot::channel();
        let (bound, engine) = runtime.block_on(async {
            let memory: Arc<dyn Provider> = Arc::new(MemoryProvider::new("memory"));
            let options =
                EngineOptions { default_provider: "memory".to_owned(), ..EngineOptions::default() };
            let store = Store::open_in_memory().await.unwrap();
            let engine =
                Engine::start(options, store, vec![memory], Arc::new(SystemClock)).await.unwrap();
            let listen = "127.0.0.1:0".parse().unwrap();
            let options = ServerOptions { listen, ..ServerOptions::default() };
            (Server::bind(options, engine.clone()).await.unwrap(), engine)
        });
        let url = format!("http://{}", bound.local_addr());
        let serving = runtime.spawn(async move {
            bound.run(async { drop(stopped.await) }).await;
            engine.shutdown().await;
        });
        Self { url, stop: Some(stop), serving: Some(serving), runtime }
    }

    /// The program as a client of this server.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = stacyvm(args);
        command.env("STACYVM_SERVER", &self.url);
        command
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// A new sandbox's id.
    pub fn sandbox(&self) -> String {
        let output = self.run(&["spawn", "--json"]);
        let sandbox: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        sandbox["id"].as_str().unwrap().to_owned()
    }

    /// Waits until the list of sandboxes is as expected.
    pub fn until(&self, expected: impl Fn(&str) -> bool) {
        let since = Instant::now();
        loop {
            let listing = stdout(&self.run(&["ls"]));
            if expected(&listing) {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "{listing}");
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(serving) = self.serving.take() {
            self.runtime.block_on(serving).unwrap();
        }
    }
}

/// The program with nothing of this process's environment.
pub fn stacyvm(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stacyvm"));
    command.args(args).env_clear().env("HOME", "/nonexistent");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
