//! Idempotency keys: a request that is sent again under its key makes nothing anew.

use std::str::FromStr;

use model::{Failure, Reason, Timestamp};

use crate::database::Store;
use crate::failure::damaged;
use crate::sql;
use crate::statement::Statement;

/// A caller's name for one request, so that the request may be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Whose keys, and for what kind of request.
    pub scope: String,
    /// The caller's word.
    pub key: String,
    /// Tells this request from another under the same key.
    pub fingerprint: String,
}

/// What became of a row that was to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted<T> {
    /// It was made.
    New,
    /// Its key was used before, for the row of this id.
    Before(T),
}

impl Key {
    /// What remembers that the key made `target`; changes nothing when it was used before.
    pub(crate) fn row(&self, target: &str, at: Timestamp) -> Statement {
        Statement::new(sql::INSERT_KEY)
            .bind(self.scope.as_str())
            .bind(self.key.as_str())
            .bind(self.fingerprint.as_str())
            .bind(target)
            .bind(at.as_micros())
    }
}

impl Store {
    /// What `key` made before; `None` when it was not used.
    ///
    /// Fails with [`IdempotencyKeyReused`](Reason::IdempotencyKeyReused) when it was used for
    /// another request.
    pub(crate) async fn used<T: FromStr>(&self, key: Option<&Key>) -> Result<Option<T>, Failure> {
        let Some(key) = key else { return Ok(None) };
        let statement = Statement::new(sql::KEY).bind(key.scope.as_str()).bind(key.key.as_str());
        let rows = self.database.look_up(&statement).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        if row.text(0)? != key.fingerprint {
            let message = "the Idempotency-Key was used before, for another request";
            return Err(Failure::new(Reason::IdempotencyKeyReused, message)
                .detail("field", "Idempotency-Key")
                .hint("send a new key with each new request"));
        }
        let target = row.text(1)?;
        target.parse().map(Some).map_err(|_| damaged("id", target))
    }
}
