//! The rows of sandboxes: inserted within limits, changed by compare-and-set, read.

use std::collections::BTreeMap;

use model::{EndReason, Failure, Reason, Sandbox, SandboxId, Timestamp};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::database::Store;
use crate::failure::unavailable;
use crate::record::{Record, write};
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
    /// Fails with [`TooManySandboxes`](Reason::TooManySandboxes) when they do not; nothing is
    /// written then.
    pub async fn insert(
        &self,
        sandbox: &Sandbox,
        limits: Limits,
        record: &Record,
    ) -> Result<(), Failure> {
        let mut tx = self.writer.begin().await.map_err(unavailable)?;
        let seq = write(&mut tx, record).await.map_err(|error| self.unwritten(error))?;
        let inserted = row::bind_all(sqlx::query(sql::INSERT_SANDBOX), sandbox)
            .bind(i64::from(limits.total))
            .bind(i64::from(limits.per_owner))
            .execute(&mut *tx)
            .await
            .map_err(|error| self.unwritten(error))?
            .rows_affected();
        if inserted == 0 {
            tx.rollback().await.map_err(|error| self.unwritten(error))?;
            return Err(self.too_many(sandbox, limits).await?);
        }
        tx.commit().await.map_err(|error| self.unwritten(error))?;
        self.announce(seq);
        Ok(())
    }

    async fn too_many(&self, sandbox: &Sandbox, limits: Limits) -> Result<Failure, Failure> {
        let active = self.count_active(sandbox.owner.as_deref()).await?;
        let (what, limit, field) = if limits.total > 0 && active.total >= limits.total {
            ("max sandboxes", limits.total, "max_sandboxes")
        } else {
            ("max sandboxes per owner", limits.per_owner, "max_sandboxes_per_owner")
        };
        Ok(Failure::new(
            Reason::TooManySandboxes,
            format!("resource limit exceeded: {what} reached ({limit})"),
        )
        .detail("limit", field)
        .detail("max", i64::from(limit))
        .hint("delete a sandbox or wait until one expires"))
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
        let failed = |error| TransitionError::Failed(self.unwritten(error));
        let after = Sandbox { version: before.version + 1, ..after };
        let mut tx = self.writer.begin().await.map_err(failed)?;
        let seq = write(&mut tx, record).await.map_err(failed)?;
        let updated = sqlx::query(sql::UPDATE_SANDBOX)
            .bind(before.id.as_str().to_owned())
            .bind(before.version)
            .bind(after.version)
            .bind(after.phase.name())
            .bind(after.phase.end_reason().map(EndReason::word))
            .bind(after.expires_at.as_micros())
            .bind(after.updated_at.as_micros())
            .bind(after.handle.clone())
            .bind(after.failure.as_ref().map(|(reason, _)| reason.word()))
            .bind(after.failure.as_ref().map(|(_, message)| message.clone()))
            .execute(&mut *tx)
            .await
            .map_err(failed)?
            .rows_affected();
        if updated == 0 {
            tx.rollback().await.map_err(failed)?;
            return Err(TransitionError::Conflict);
        }
        tx.commit().await.map_err(failed)?;
        self.announce(seq);
        Ok(after)
    }

    /// One sandbox, whatever has become of it; `None` if it never was or is forgotten.
    pub async fn get(&self, id: &SandboxId) -> Result<Option<Sandbox>, Failure> {
        let query = sqlx::query(sql::SANDBOX).bind(id.as_str().to_owned());
        let found = query.fetch_optional(&self.reader).await.map_err(unavailable)?;
        found.as_ref().map(row::sandbox).transpose()
    }

    /// Sandboxes, the newest first.
    pub async fn list(&self, shown: Shown) -> Result<Vec<Sandbox>, Failure> {
        let statement = match shown {
            Shown::Present => sql::SANDBOXES_SHOWN,
            Shown::All => sql::SANDBOXES_ALL,
        };
        sandboxes(&sqlx::query(statement).fetch_all(&self.reader).await.map_err(unavailable)?)
    }

    /// Every sandbox that is not over: what reconciling looks at.
    pub async fn live(&self) -> Result<Vec<Sandbox>, Failure> {
        let query = sqlx::query(sql::SANDBOXES_LIVE);
        sandboxes(&query.fetch_all(&self.reader).await.map_err(unavailable)?)
    }

    /// Sandboxes that should have ended by `now` and whose end has not begun, the most overdue
    /// first.
    pub async fn expired(&self, now: Timestamp) -> Result<Vec<Sandbox>, Failure> {
        let query = sqlx::query(sql::SANDBOXES_EXPIRED).bind(now.as_micros());
        sandboxes(&query.fetch_all(&self.reader).await.map_err(unavailable)?)
    }

    /// When the next sandbox should end; `None` when there is none.
    pub async fn next_expiry(&self) -> Result<Option<Timestamp>, Failure> {
        let query = sqlx::query(sql::NEXT_EXPIRY);
        let row = query.fetch_one(&self.reader).await.map_err(unavailable)?;
        let micros: Option<i64> = row.try_get(0).map_err(unavailable)?;
        Ok(micros.map(Timestamp::from_micros))
    }

    /// How many sandboxes count against the limits, in all and of `owner`.
    pub async fn count_active(&self, owner: Option<&str>) -> Result<ActiveCount, Failure> {
        let query = sqlx::query(sql::COUNT_ACTIVE).bind(owner.map(str::to_owned));
        let row = query.fetch_one(&self.reader).await.map_err(unavailable)?;
        Ok(ActiveCount { total: count(&row, 0)?, owner: count(&row, 1)? })
    }

    /// How many sandboxes that are not over each provider has.
    pub async fn count_by_provider(&self) -> Result<BTreeMap<String, u32>, Failure> {
        let query = sqlx::query(sql::COUNT_BY_PROVIDER);
        let rows = query.fetch_all(&self.reader).await.map_err(unavailable)?;
        rows.iter().map(|row| Ok((row.try_get(0).map_err(unavailable)?, count(row, 1)?))).collect()
    }
}

fn sandboxes(rows: &[AnyRow]) -> Result<Vec<Sandbox>, Failure> {
    rows.iter().map(row::sandbox).collect()
}

fn count(row: &AnyRow, column: usize) -> Result<u32, Failure> {
    let value: i64 = row.try_get(column).map_err(unavailable)?;
    Ok(u32::try_from(value).unwrap_or(u32::MAX))
}
