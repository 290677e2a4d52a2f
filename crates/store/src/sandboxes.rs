//! The rows of sandboxes: inserted within limits, changed by compare-and-set, read.

use std::collections::BTreeMap;

use model::{EndReason, Failure, Limit, Sandbox, SandboxId, Timestamp};

use crate::database::Store;
use crate::failure::damaged;
use crate::keys::{Inserted, Key};
use crate::record::Record;
use crate::statement::Statement;
use crate::value::Row;
use crate::{row, sql};

/// How many sandboxes there may be at once; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub total: u32,
    /// Of the new sandbox's owner, if it has one.
    pub per_owner: u32,
}

/// How many sandboxes count against the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActiveCount {
    /// In all.
    pub total: u32,
    /// Of the owner that was asked about.
    pub owner: u32,
}

/// Which rows a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// All but those that were destroyed; failed ones until they are deleted.
    Present,
    /// All that are kept.
    All,
}

/// Why a change was not stored.
#[derive(Debug)]
pub enum TransitionError {
    /// Somebody else has changed the row first, or it is no longer there: read it and decide
    /// again.
    Conflict,
    /// The store does not answer.
    Failed(Failure),
}

impl Store {
    /// Stores a new sandbox with what is written down about it, if the limits leave room.
    ///
    /// Fails with [`TooManySandboxes`](model::Reason::TooManySandboxes) when they do not; nothing
    /// is written then. Neither is it when `key` was used before: then the answer is what it made.
    pub async fn insert(
        &self,
        sandbox: &Sandbox,
        (limits, key): (Limits, Option<&Key>),
        record: &Record,
    ) -> Result<Inserted<SandboxId>, Failure> {
        let row = row::bind_all(Statement::new(sql::INSERT_SANDBOX), sandbox)
            .bind(limits.total)
            .bind(limits.per_owner);
        let key_row = key.map(|key| key.row(sandbox.id.as_str(), sandbox.created_at));
        if self.commit(record, key_row.into_iter().chain([row])).await? {
            return Ok(Inserted::New);
        }
        match self.used(key).await? {
            Some(id) => Ok(Inserted::Before(id)),
            None => Err(self.too_many(sandbox, limits).await?),
        }
    }

    async fn too_many(&self, sandbox: &Sandbox, limits: Limits) -> Result<Failure, Failure> {
        let active = self.count_active(sandbox.owner.as_deref()).await?;
        let (what, max, limit) = if limits.total > 0 && active.total >= limits.total {
            ("max sandboxes", limits.total, Limit::MaxSandboxes)
        } else {
            ("max sandboxes per owner", limits.per_owner, Limit::MaxSandboxesPerOwner)
        };
        let message = format!("resource limit exceeded: {what} reached ({max})");
        Ok(Failure::over_limit(limit, i64::from(max), message))
    }

    /// Stores `after` in place of `before` with what is written down about it, and returns it
    /// with its new version. The id, provider, image, resources, owner, metadata and time of
    /// creation never change.
    pub async fn transition(
        &self,
        before: &Sandbox,
        after: Sandbox,
        record: &Record,
    ) -> Result<Sandbox, TransitionError> {
        let after = Sandbox { version: before.version + 1, ..after };
        let change = Statement::new(sql::UPDATE_SANDBOX)
            .bind(before.id.as_str())
            .bind(before.version)
            .bind(after.version)
            .bind(after.phase.name())
            .bind(after.phase.end_reason().map(EndReason::word))
            .bind(after.expires_at.as_micros())
            .bind(after.updated_at.as_micros())
            .bind(after.handle.as_deref())
            .bind(after.failure.as_ref().map(|(reason, _)| reason.word()))
            .bind(after.failure.as_ref().map(|(_, message)| message.as_str()));
        match self.commit(record, [change]).await {
            Ok(true) => Ok(after),
            Ok(false) => Err(TransitionError::Conflict),
            Err(failure) => Err(TransitionError::Failed(failure)),
        }
    }

    /// One sandbox, whatever has become of it; `None` if it never was or is forgotten.
    pub async fn get(&self, id: &SandboxId) -> Result<Option<Sandbox>, Failure> {
        let rows = self.database.look_up(&Statement::new(sql::SANDBOX).bind(id.as_str())).await?;
        rows.first().map(row::sandbox).transpose()
    }

    /// Sandboxes, the newest first.
    pub async fn list(&self, shown: Shown) -> Result<Vec<Sandbox>, Failure> {
        let sql = match shown {
            Shown::Present => sql::SANDBOXES_SHOWN,
            Shown::All => sql::SANDBOXES_ALL,
        };
        self.sandboxes(Statement::new(sql)).await
    }

    /// Every sandbox that is not over: what reconciling looks at.
    pub async fn live(&self) -> Result<Vec<Sandbox>, Failure> {
        self.sandboxes(Statement::new(sql::SANDBOXES_LIVE)).await
    }

    /// Sandboxes that should have ended by `now` and whose end has not begun, the most overdue
    /// first.
    pub async fn expired(&self, now: Timestamp) -> Result<Vec<Sandbox>, Failure> {
        self.sandboxes(Statement::new(sql::SANDBOXES_EXPIRED).bind(now.as_micros())).await
    }

    async fn sandboxes(&self, statement: Statement) -> Result<Vec<Sandbox>, Failure> {
        self.database.scan(statement).await?.iter().map(row::sandbox).collect()
    }

    /// When the next sandbox should end; `None` when there is none.
    pub async fn next_expiry(&self) -> Result<Option<Timestamp>, Failure> {
        // The first entry of an index.
        let rows = self.database.look_up(&Statement::new(sql::NEXT_EXPIRY)).await?;
        let micros = first(&rows)?.optional_integer(0)?;
        Ok(micros.map(Timestamp::from_micros))
    }

    /// How many sandboxes count against the limits, in all and of `owner`.
    pub async fn count_active(&self, owner: Option<&str>) -> Result<ActiveCount, Failure> {
        let rows = self.database.scan(Statement::new(sql::COUNT_ACTIVE).bind(owner)).await?;
        let row = first(&rows)?;
        Ok(ActiveCount { total: row.number(0)?, owner: row.number(1)? })
    }

    /// How many sandboxes that are not over each provider has.
    pub async fn count_by_provider(&self) -> Result<BTreeMap<String, u32>, Failure> {
        let rows = self.database.scan(Statement::new(sql::COUNT_BY_PROVIDER)).await?;
        rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.number(1)?))).collect()
    }
}

fn first(rows: &[Row]) -> Result<&Row, Failure> {
    rows.first().ok_or_else(|| damaged("answer", "no row"))
}
