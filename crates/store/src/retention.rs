//! Forgetting: rows of sandboxes that have ended and old events. Audit records are kept.

use model::{Failure, Timestamp};

use crate::database::Store;
use crate::failure::unavailable;
use crate::sql;

/// How much was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Rows of sandboxes.
    pub sandboxes: u64,
    /// Events.
    pub events: u64,
}

impl Store {
    /// Forgets sandboxes that ended and events that happened before `before`. Event numbers go
    /// on where they were.
    pub async fn purge(&self, before: Timestamp) -> Result<Purged, Failure> {
        let mut tx = self.writer.begin().await.map_err(unavailable)?;
        let mut counts = [0; 2];
        for (count, statement) in counts.iter_mut().zip([sql::PURGE_SANDBOXES, sql::PURGE_EVENTS]) {
            let query = sqlx::query(statement).bind(before.as_micros());
            let done = query.execute(&mut *tx).await.map_err(|error| self.unwritten(error))?;
            *count = done.rows_affected();
        }
        tx.commit().await.map_err(|error| self.unwritten(error))?;
        let [sandboxes, events] = counts;
        Ok(Purged { sandboxes, events })
    }
}
