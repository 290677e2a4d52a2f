//! Forgetting: rows of sandboxes that have ended and old events. Audit records are kept.

use model::{Failure, Timestamp};

use crate::database::Store;
use crate::sql;
use crate::statement::Statement;

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
        let forget = |sql| Statement::new(sql).bind(before.as_micros());
        let statements = vec![forget(sql::PURGE_SANDBOXES), forget(sql::PURGE_EVENTS)];
        let written = self.database.write(statements).await?;
        Ok(Purged { sandboxes: written.changed_by(0), events: written.changed_by(1) })
    }
}
