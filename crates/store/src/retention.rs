//! Forgetting: rows of sandboxes and execs that have ended, old events and keys. Audit records are
//! kept.

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
    /// Forgets what ended, happened or was used before `before`. Event numbers go
    /// on where they were.
    pub async fn purge(&self, before: Timestamp) -> Result<Purged, Failure> {
        let forget = |sql| Statement::new(sql).bind(before.as_micros());
        let statements =
            [sql::PURGE_SANDBOXES, sql::PURGE_EVENTS, sql::PURGE_EXECS, sql::PURGE_KEYS];
        let statements = statements.map(forget).into();
        let written = self.database.write(statements).await?;
        Ok(Purged { sandboxes: written.changed_by(0), events: written.changed_by(1) })
    }
}
