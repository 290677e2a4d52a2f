//! What every end-to-end test starts from: a directory of its own, a server on it, and the proof
//! at the end that nothing is left. Used by the tests in this folder.

use std::path::PathBuf;
use std::time::Duration;

use api::client::{Client, ClientError};
use api::exec::{ExecRequest, ExecResult};
use api::sandbox::{Sandbox, SpawnRequest};
use futures::StreamExt;
use tempfile::TempDir;
use testkit::traces;

/// How long something may take that takes milliseconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A directory for one test.
pub struct World {
    home: TempDir,
}

impl World {
    pub fn new() -> Self {
        let home = tempfile::Builder::new().prefix("e2e-").tempdir();
        Self { home: home.expect("a temporary directory can be made") }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Fails with whatever is left of the test's servers.
    pub fn assert_no_traces(&self) {
        assert_eq!(traces(&self.data_dir()), Vec::<String>::new());
    }
}

/// A sandbox of image `host`.
pub async fn spawn(client: &Client) -> Sandbox {
    let request = SpawnRequest { ttl: Some("10m".into()), ..SpawnRequest::default() };
    client.spawn(&request).await.expect("a sandbox is spawned")
}

/// Runs a shell line and waits for its end.
pub async fn sh(client: &Client, id: &str, line: &str) -> ExecResult {
    let request = ExecRequest { command: Some(line.into()), ..ExecRequest::default() };
    client.exec(id, &request).await.expect("the shell runs")
}

/// What a shell line prints; it must succeed.
pub async fn output(client: &Client, id: &str, line: &str) -> String {
    let result = sh(client, id, line).await;
    assert_eq!(result.exit_code, 0, "{line}: {result:?}");
    result.stdout
}

/// Waits until `condition` holds, by asking again and again.
pub async fn eventually<F: AsyncFn() -> bool>(what: &str, condition: F) {
    let asked = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, asked).await.is_ok(), "never: {what}");
}

/// Writes a file.
pub async fn write(client: &Client, id: &str, path: &str, text: &str) -> Result<(), ClientError> {
    let bytes = futures::stream::iter([Ok::<_, std::io::Error>(text.to_owned())]);
    client.write_file(id, (path, None), bytes).await.map(drop)
}

/// A file's text, if it can be read.
pub async fn read(client: &Client, id: &str, path: &str) -> Option<String> {
    let mut stream = client.read_file(id, path).await.ok()?;
    let mut bytes = Vec::new();
    while let Some(part) = stream.next().await {
        bytes.extend_from_slice(&part.ok()?);
    }
    String::from_utf8(bytes).ok()
}
