//! Writes events and audit records that belong to no change of a row. What many callers write at
//! the same time is one transaction.

use std::sync::{Mutex, PoisonError};

use model::Failure;
use store::{Record, Store};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::refuse::shutting_down;

/// Entries that wait for the store before a writer has to wait itself.
const QUEUE: usize = 256;

/// Entries in one transaction: enough to make its cost small, few enough to keep it short.
const BATCH: usize = 64;

struct Entry {
    record: Record,
    done: oneshot::Sender<Result<(), Failure>>,
}

/// The way to the task that writes.
#[derive(Debug)]
pub(crate) struct Journal {
    entries: Mutex<Option<mpsc::Sender<Entry>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Starts the task.
    pub(crate) fn start(store: Store) -> Self {
        let (entries, queue) = mpsc::channel(QUEUE);
        let task = tokio::spawn(write_all(store, queue));
        Self { entries: Mutex::new(Some(entries)), task: Mutex::new(Some(task)) }
    }

    /// Writes `record` down; when it returns, the record is committed.
    pub(crate) async fn write(&self, record: Record) -> Result<(), Failure> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (done, committed) = oneshot::channel();
        let entries = entries.ok_or_else(shutting_down)?;
        entries.send(Entry { record, done }).await.map_err(|_| shutting_down())?;
        committed.await.map_err(|_| shutting_down())?
    }

    /// Writes what is waiting and ends the task.
    pub(crate) async fn finish(&self) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).take();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // A panic of the task has been answered to its callers already.
            let _ = task.await;
        }
    }

    /// Ends the task where it stands.
    pub(crate) fn abort(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            task.abort();
        }
    }
}

async fn write_all(store: Store, mut queue: mpsc::Receiver<Entry>) {
    let mut entries = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut entries, BATCH).await > 0 {
        let mut record = Record::default();
        let mut waiting = Vec::with_capacity(entries.len());
        for entry in entries.drain(..) {
            record.extend(entry.record);
            waiting.push(entry.done);
        }
        let result = store.append(&record).await;
        for done in waiting {
            // A caller that no longer waits has nobody to tell.
            let _ = done.send(result.clone());
        }
    }
}
