//! Statements on SQLite: one thread that writes, one connection for look-ups by key, a few for
//! scans. Knows no table.
//!
//! A transaction crosses to the writer's thread once, whatever the number of its statements: each
//! crossing costs more than a statement. A look-up of one row by its key takes some ten
//! microseconds from memory, less than a crossing, and is made where it is asked for.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::{Failure, Reason};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OpenFlags, ToSql};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::failure::unavailable;
use crate::statement::{Done, Statement, Written};
use crate::value::{Row, Value};

/// Scans at once: lists and event streams do not wait for each other.
const SCANS: usize = 4;

/// Transactions that wait for the writer before their callers have to wait to hand them over.
const QUEUE: usize = 256;

/// How long a statement waits for another process that holds the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a transaction waits for its turn before its caller is told that the store does not
/// answer. One that has begun is waited for.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// Prepared statements that a connection keeps: more than there are texts in [`crate::sql`].
const STATEMENTS_KEPT: usize = 64;

type Shared = Arc<Mutex<Connection>>;

/// A database file, or a database in memory.
#[derive(Debug)]
pub(crate) struct Sqlite {
    writer: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    lookups: Shared,
    scans: Vec<Shared>,
    next_scan: AtomicUsize,
    scan_turns: Semaphore,
}

/// What the writer is asked.
struct Job {
    statements: Vec<Statement>,
    ending: Ending,
    /// Not begun after this moment.
    until: Instant,
    answer: oneshot::Sender<Result<Written, Failure>>,
}

/// What happens to a transaction whose statements have all run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Commit,
    /// For finding out whether it could be committed.
    RollBack,
}

impl Sqlite {
    /// Opens an existing file. Blocks.
    pub(crate) fn open(path: &Path) -> Result<Self, rusqlite::Error> {
        let connect = || connect(path).map(|connection| Arc::new(Mutex::new(connection)));
        // The first connection sets the file up, before any other looks at it.
        let writer = connect()?;
        let scans = (0..SCANS).map(|_| connect()).collect::<Result<_, _>>()?;
        Ok(Self::start(writer, connect()?, scans))
    }

    /// A database that is gone with the value.
    pub(crate) fn in_memory() -> Result<Self, rusqlite::Error> {
        let connection = Connection::open_in_memory()?;
        set_up(&connection)?;
        // Every connection to such a database has one of its own, so there is only one.
        let shared = Arc::new(Mutex::new(connection));
        Ok(Self::start(Arc::clone(&shared), Arc::clone(&shared), vec![shared]))
    }

    fn start(writer: Shared, lookups: Shared, scans: Vec<Shared>) -> Self {
        let (sender, jobs) = mpsc::channel(QUEUE);
        let name = std::thread::Builder::new().name("store-writer".into());
        let thread = name.spawn(move || write_all(&writer, jobs));
        let scan_turns = Semaphore::new(scans.len());
        Self {
            // Without its thread every write is answered with a failure.
            writer: Mutex::new(thread.is_ok().then_some(sender)),
            thread: Mutex::new(thread.ok()),
            lookups,
            scans,
            next_scan: AtomicUsize::new(0),
            scan_turns,
        }
    }

    /// Runs the statements as one transaction.
    pub(crate) async fn write(&self, statements: Vec<Statement>) -> Result<Written, Failure> {
        self.transact(statements, Ending::Commit).await
    }

    /// Whether the statements could be run as one transaction now; nothing is changed.
    pub(crate) async fn try_write(&self, statements: Vec<Statement>) -> Result<(), Failure> {
        self.transact(statements, Ending::RollBack).await.map(drop)
    }

    async fn transact(
        &self,
        statements: Vec<Statement>,
        ending: Ending,
    ) -> Result<Written, Failure> {
        let writer = held(&self.writer).clone().ok_or_else(closed)?;
        let (answer, answered) = oneshot::channel();
        let job = Job { statements, ending, until: Instant::now() + TURN_TIMEOUT, answer };
        writer.send_timeout(job, TURN_TIMEOUT).await.map_err(|_| overdue())?;
        answered.await.map_err(|_| closed())?
    }

    /// Runs a statement that finds at most a row or two by a key.
    #[expect(clippy::unused_async, reason = "a database that is across a network waits here")]
    pub(crate) async fn look_up(&self, statement: &Statement) -> Result<Vec<Row>, Failure> {
        run(&held(&self.lookups), statement).map(|done| done.rows).map_err(unavailable)
    }

    /// Runs a statement that may look at many rows.
    pub(crate) async fn scan(&self, statement: Statement) -> Result<Vec<Row>, Failure> {
        let turn = tokio::time::timeout(TURN_TIMEOUT, self.scan_turns.acquire()).await;
        let _turn = turn.map_err(|_| overdue())?.map_err(|_| closed())?;
        let turn = self.next_scan.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::clone(&self.scans[turn % self.scans.len()]);
        let rows = tokio::task::spawn_blocking(move || run(&held(&connection), &statement)).await;
        rows.map_err(Failure::internal)?.map(|done| done.rows).map_err(unavailable)
    }

    /// Finishes what was handed over, then takes no more. What was committed is on the disk.
    pub(crate) async fn close(&self) {
        self.scan_turns.close();
        held(&self.writer).take();
        let thread = held(&self.thread).take();
        if let Some(thread) = thread {
            // A panic of the thread has been answered to its callers already.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn closed() -> Failure {
    Failure::new(Reason::StoreUnavailable, "the server's storage does not answer")
        .caused_by("the store is closed")
}

fn overdue() -> Failure {
    Failure::new(Reason::StoreUnavailable, "the server's storage does not answer in time")
        .hint("check that the disk of the data directory is not overloaded")
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    set_up(&connection)?;
    Ok(connection)
}

fn set_up(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;",
    )
}

/// Runs one transaction after the other until nobody can ask for more.
fn write_all(connection: &Mutex<Connection>, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.blocking_recv() {
        let result = if job.until < Instant::now() {
            Err(overdue())
        } else {
            transact(&held(connection), &job.statements, job.ending)
        };
        // A caller that no longer waits has nobody to tell.
        let _ = job.answer.send(result);
    }
}

fn transact(
    connection: &Connection,
    statements: &[Statement],
    ending: Ending,
) -> Result<Written, Failure> {
    let result = attempt(connection, statements, ending);
    // A failed commit may have ended the transaction or not; only the connection knows.
    if !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK").map_err(unavailable)?;
    }
    result.map_err(unavailable)
}

/// Leaves the transaction open when it is to be undone.
fn attempt(
    connection: &Connection,
    statements: &[Statement],
    ending: Ending,
) -> Result<Written, rusqlite::Error> {
    control(connection, "BEGIN IMMEDIATE")?;
    let mut all = Vec::with_capacity(statements.len());
    for statement in statements {
        let done = run(connection, statement)?;
        if statement.must_change && done.changed == 0 {
            return Ok(Written::Unchanged);
        }
        all.push(done);
    }
    if ending == Ending::Commit {
        control(connection, "COMMIT")?;
    }
    Ok(Written::Committed(all))
}

fn control(connection: &Connection, sql: &str) -> Result<(), rusqlite::Error> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

fn run(connection: &Connection, statement: &Statement) -> Result<Done, rusqlite::Error> {
    let mut prepared = connection.prepare_cached(statement.sql)?;
    bind(&mut prepared, &statement.values)?;
    if prepared.column_count() > 0 {
        let rows = read(&mut prepared)?;
        return Ok(Done { changed: rows.len() as u64, rows });
    }
    Ok(Done { changed: prepared.raw_execute()? as u64, rows: Vec::new() })
}

/// Puts the values in their places. To SQLite `$n` is a name, and it numbers names in the order in
/// which they stand in the text.
fn bind(prepared: &mut CachedStatement<'_>, values: &[Value]) -> Result<(), rusqlite::Error> {
    for place in 1..=prepared.parameter_count() {
        let name = prepared.parameter_name(place).and_then(|name| name.strip_prefix('$'));
        let number = name.and_then(|name| name.parse::<usize>().ok()).unwrap_or(place);
        let value = values.get(number.wrapping_sub(1));
        let missing = || rusqlite::Error::InvalidParameterCount(values.len(), number);
        prepared.raw_bind_parameter(place, value.ok_or_else(missing)?)?;
    }
    Ok(())
}

fn read(prepared: &mut CachedStatement<'_>) -> Result<Vec<Row>, rusqlite::Error> {
    let columns = prepared.column_count();
    let mut found = prepared.raw_query();
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let values = (0..columns).map(|column| row.get_ref(column).map(value));
        rows.push(Row(values.collect::<Result<_, _>>()?));
    }
    Ok(rows)
}

/// What a column holds. The schema has no other types, so what is neither text nor a whole number
/// was put there by somebody else, and the row is then found to be damaged.
fn value(column: ValueRef<'_>) -> Value {
    match column {
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => Value::Null,
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>, rusqlite::Error> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}
