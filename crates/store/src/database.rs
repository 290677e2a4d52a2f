//! Opening the database, and what holds for all of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Failure, Reason};
use tokio::sync::watch;

use crate::failure::unavailable;
use crate::migrate::migrate;
use crate::record;
use crate::sqlite::Sqlite;

/// The control plane's rows, events and audit records. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) database: Arc<Sqlite>,
    pub(crate) committed: Arc<watch::Sender<i64>>,
}

impl Store {
    /// Opens the database file, makes it if it is missing (readable by its owner alone) and
    /// brings its schema up to date.
    ///
    /// Fails with [`StoreUnavailable`](Reason::StoreUnavailable) when the file cannot be opened
    /// for writing, is no database, or was written by a newer version.
    pub async fn open(path: &Path) -> Result<Self, Failure> {
        let path = std::path::absolute(path).map_err(|error| cannot_open(path, error))?;
        let opened = tokio::task::spawn_blocking(move || {
            create_private(&path).map_err(|error| cannot_open(&path, error))?;
            Sqlite::open(&path).map_err(|error| cannot_open(&path, error))
        });
        Self::on(opened.await.map_err(Failure::internal)??).await
    }

    /// A database that is gone with the value: for tests and for a server that keeps nothing.
    pub async fn open_in_memory() -> Result<Self, Failure> {
        Self::on(Sqlite::in_memory().map_err(unavailable)?).await
    }

    async fn on(database: Sqlite) -> Result<Self, Failure> {
        migrate(&database).await?;
        let committed = Arc::new(watch::Sender::new(0));
        let store = Self { database: Arc::new(database), committed };
        store.committed.send_replace(store.last_seq().await?);
        Ok(store)
    }

    /// The number of the last committed event, as it grows: a wake-up for those who then read
    /// [`events_after`](Self::events_after).
    pub fn committed(&self) -> watch::Receiver<i64> {
        self.committed.subscribe()
    }

    /// Whether the database can be read and written now.
    pub async fn ping(&self) -> Result<(), Failure> {
        self.last_seq().await?;
        // Taking the write lock and giving it back finds a file that has become read-only.
        self.database.try_write(vec![record::numbers(0, 0)]).await
    }

    /// Closes every connection. What was committed is on the disk.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

/// Makes the file if it is missing; the database's side files take over its permissions.
fn create_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(drop)
}

fn cannot_open(path: &Path, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    let path = PathBuf::from(path);
    Failure::new(Reason::StoreUnavailable, format!("cannot open database {}", path.display()))
        .hint("check that its directory exists and is writable by this user")
        .caused_by(cause)
}
