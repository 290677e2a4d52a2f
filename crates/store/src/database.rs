//! Opening the database: one connection that writes, a few that read.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use model::{Failure, Reason};
use sqlx::any::{AnyPoolOptions, install_drivers};
use sqlx::{AnyConnection, AnyPool, Connection, Executor};
use tokio::sync::watch;

use crate::failure::unavailable;
use crate::migrate::migrate;

/// Readers beside the writer: lists and event streams do not wait for each other, and each costs
/// a thread.
const READERS: u32 = 4;

/// How long a statement waits for another process that holds the database.
const BUSY_TIMEOUT_MS: u32 = 5_000;

/// How long a caller waits for a connection before it is told that the store does not answer.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// The control plane's rows, events and audit records. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) writer: AnyPool,
    pub(crate) reader: AnyPool,
    pub(crate) committed: Arc<watch::Sender<i64>>,
    /// Set when a write has failed: what its connection then thinks of its transaction is not
    /// what the database thinks (seen with a full disk), so the connection is not used again.
    suspect: Arc<AtomicBool>,
}

impl Store {
    /// Opens the database file, makes it if it is missing (readable by its owner alone) and
    /// brings its schema up to date.
    ///
    /// Fails with [`StoreUnavailable`](Reason::StoreUnavailable) when the file cannot be opened
    /// for writing, is no database, or was written by a newer version.
    pub async fn open(path: &Path) -> Result<Self, Failure> {
        let path = std::path::absolute(path).map_err(|error| cannot_open(path, error))?;
        let file = path.clone();
        tokio::task::spawn_blocking(move || create_private(&file))
            .await
            .map_err(Failure::internal)?
            .map_err(|error| cannot_open(&path, error))?;
        let url = url_of(&path)?;
        try_out(&url).await.map_err(|error| cannot_open(&path, error))?;
        let suspect = Arc::new(AtomicBool::new(false));
        let writer = dropping_suspects(pool(1), Arc::clone(&suspect));
        let writer = writer.connect(&url).await.map_err(|error| cannot_open(&path, error))?;
        let reader =
            pool(READERS).connect(&url).await.map_err(|error| cannot_open(&path, error))?;
        Self::from_pools(writer, reader, suspect).await
    }

    /// A database that is gone with the value: for tests and for a server that keeps nothing.
    pub async fn open_in_memory() -> Result<Self, Failure> {
        // Every connection to such a database has one of its own, so there is only one.
        let pool = pool(1).connect("sqlite::memory:").await.map_err(unavailable)?;
        Self::from_pools(pool.clone(), pool, Arc::default()).await
    }

    async fn from_pools(
        writer: AnyPool,
        reader: AnyPool,
        suspect: Arc<AtomicBool>,
    ) -> Result<Self, Failure> {
        migrate(&writer).await?;
        let committed = Arc::new(watch::Sender::new(0));
        let store = Self { writer, reader, committed, suspect };
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
        let mut tx = self.writer.begin().await.map_err(unavailable)?;
        sqlx::query(crate::sql::NUMBERS)
            .bind(0_i64)
            .bind(0_i64)
            .fetch_one(&mut *tx)
            .await
            .map_err(|error| self.unwritten(error))?;
        tx.rollback().await.map_err(|error| self.unwritten(error))
    }

    /// The failure of a write, whose connection is then replaced by a fresh one.
    pub(crate) fn unwritten(&self, error: sqlx::Error) -> Failure {
        self.suspect.store(true, Ordering::SeqCst);
        unavailable(error)
    }

    /// Closes every connection. What was committed is on the disk.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}

fn install() {
    static DRIVERS: Once = Once::new();
    DRIVERS.call_once(|| {
        // Fails only if another crate of this process has installed drivers, which then serve.
        let _ = install_drivers(&[sqlx::sqlite::any::DRIVER]);
    });
}

fn pool(connections: u32) -> AnyPoolOptions {
    install();
    AnyPoolOptions::new()
        .max_connections(connections)
        .min_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
        // The database is a file of this process: there is no peer that may have hung up.
        .test_before_acquire(false)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(|connection, _| Box::pin(set_up(connection)))
}

async fn set_up(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    let busy = format!("PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}");
    connection.execute(sqlx::AssertSqlSafe(busy)).await?;
    connection.execute("PRAGMA journal_mode = WAL").await?;
    connection.execute("PRAGMA synchronous = NORMAL").await?;
    connection.execute("PRAGMA foreign_keys = ON").await?;
    Ok(())
}

/// Opens the database once by hand: a pool tries again and again, and in the end says only that
/// it took too long.
async fn try_out(url: &str) -> Result<(), sqlx::Error> {
    install();
    let mut connection = AnyConnection::connect(url).await?;
    set_up(&mut connection).await?;
    connection.close().await
}

/// Closes a connection that comes back after a failed write. The mark is set before that, so it
/// is about this connection: there is one writer.
fn dropping_suspects(pool: AnyPoolOptions, suspect: Arc<AtomicBool>) -> AnyPoolOptions {
    pool.after_release(move |_, _| {
        let usable = !suspect.swap(false, Ordering::SeqCst);
        Box::pin(async move { Ok(usable) })
    })
}

/// Makes the file if it is missing; the database's side files take over its permissions.
fn create_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(drop)
}

/// The path as the database's address, with everything escaped that means something in one.
fn url_of(path: &Path) -> Result<String, Failure> {
    use std::fmt::Write;
    let text = path.to_str().ok_or_else(|| cannot_open(path, "the path is not UTF-8"))?;
    let mut url = String::from("sqlite://");
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            url.push(char::from(byte));
        } else {
            write!(url, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    Ok(url + "?mode=rw")
}

fn cannot_open(path: &Path, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    let path = PathBuf::from(path);
    Failure::new(Reason::StoreUnavailable, format!("cannot open database {}", path.display()))
        .hint("check that its directory exists and is writable by this user")
        .caused_by(cause)
}
