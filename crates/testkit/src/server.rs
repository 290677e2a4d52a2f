//! The real `stacyvm`: started, asked, killed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use api::client::{Client, ClientOptions};

pub use std::process::Command;

/// The binary under test: `STACYVM_BIN`, which `cargo xtask test` sets, else the one that the
/// workspace built.
///
/// # Panics
/// If there is none.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("STACYVM_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile = test.ancestors().nth(2).expect("a test lies in target/profile/deps");
    let path = profile.join("stacyvm");
    assert!(path.exists(), "no {}: build it, or name one in STACYVM_BIN", path.display());
    path
}

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// An API key to require.
    pub api_key: Option<String>,
    /// More environment.
    pub env: Vec<(String, String)>,
}

/// A running `stacyvm serve` on a free port. Dropping it ends it by SIGTERM and waits.
#[derive(Debug)]
pub struct Server {
    child: Child,
    url: String,
    data_dir: PathBuf,
    options: ServerOptions,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server on `data_dir`.
    ///
    /// # Panics
    /// If it ends before it listens; with what it said.
    pub fn start(data_dir: &Path) -> Self {
        Self::start_with(data_dir, ServerOptions::default())
    }

    /// Starts a server with options.
    ///
    /// # Panics
    /// If it ends before it listens; with what it said.
    pub fn start_with(data_dir: &Path, options: ServerOptions) -> Self {
        Self::try_start(data_dir, options).unwrap_or_else(|log| panic!("no server: {log}"))
    }

    /// Starts a server, or says what it said when it would not.
    ///
    /// # Panics
    /// If the binary cannot be executed.
    pub fn try_start(data_dir: &Path, options: ServerOptions) -> Result<Self, String> {
        let mut command = Command::new(binary());
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir);
        // A configuration file of the person who runs the tests must not be found.
        command.env("HOME", data_dir.parent().expect("a data directory has a parent"));
        command.current_dir(data_dir.parent().expect("a data directory has a parent"));
        for (name, value) in &options.env {
            command.env(name, value);
        }
        if let Some(key) = &options.api_key {
            command.env("STACYVM_AUTH_API_KEY", key);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary under test can be executed");
        let stderr = child.stderr.take().expect("standard error was piped");
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, receiver) = std::sync::mpsc::channel();
        let kept = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some((_, url)) = line.split_once("listening on ") {
                    let _ = sender.send(url.trim().to_owned());
                }
                let mut log = kept.lock().expect("no holder of the log panics");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let Ok(url) = receiver.recv() else {
            let _ = child.wait();
            let _ = reader.join();
            return Err(log.lock().expect("no holder of the log panics").clone());
        };
        let reader = Some(reader);
        Ok(Self { child, url, data_dir: data_dir.to_owned(), options, log, reader })
    }

    /// Where it listens, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its port.
    ///
    /// # Panics
    /// If the URL has none.
    pub fn port(&self) -> u16 {
        let port = self.url.rsplit(':').next().and_then(|port| port.parse().ok());
        port.expect("the server says its port")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A client of it.
    ///
    /// # Panics
    /// If the client cannot be made.
    pub fn client(&self) -> Client {
        let options = ClientOptions {
            server: self.url.clone(),
            api_key: self.options.api_key.clone(),
            user_id: None,
        };
        Client::new(&options).expect("the server's URL is one")
    }

    /// What it has said on standard error.
    ///
    /// # Panics
    /// If the thread that reads it panicked.
    pub fn log(&self) -> String {
        self.log.lock().expect("no holder of the log panics").clone()
    }

    /// Ends it by SIGKILL and starts another on the same directory.
    ///
    /// # Panics
    /// If the other does not start.
    #[must_use]
    pub fn kill_and_restart(mut self) -> Self {
        self.kill();
        Self::start_with(&self.data_dir.clone(), self.options.clone())
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.join();
    }

    /// Ends it by SIGTERM and waits.
    ///
    /// # Panics
    /// If `kill` is not there to be run.
    pub fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let mut terminate = Command::new("kill");
            terminate.arg(self.child.id().to_string());
            terminate.status().expect("`kill` is part of every Debian system");
            let _ = self.child.wait();
        }
        self.join();
    }

    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
