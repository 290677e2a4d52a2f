//! Brings a database to the schema that this program was built for, once, when it is opened.

use model::{Failure, Reason};
use sqlx::{AnyPool, Row, raw_sql};

use crate::failure::unavailable;
use crate::sql;

/// One step of the schema.
pub(crate) struct Migration {
    /// Its place, from 1, without gaps.
    pub version: i64,
    /// What it does.
    pub name: &'static str,
    /// Its statements.
    pub text: &'static str,
}

/// Every step, in order.
pub(crate) const MIGRATIONS_KNOWN: &[Migration] = &[Migration {
    version: 1,
    name: "sandboxes, events, audit",
    text: include_str!("../../../migrations/0001_sandboxes_events_audit.sql"),
}];

/// Applies what is missing, each step in a transaction of its own. A database that knows a step
/// which this program does not is refused: it belongs to a newer one.
pub(crate) async fn migrate(pool: &AnyPool) -> Result<(), Failure> {
    let mut tx = pool.begin().await.map_err(unavailable)?;
    sqlx::query(sql::CREATE_MIGRATIONS).execute(&mut *tx).await.map_err(unavailable)?;
    let rows = sqlx::query(sql::MIGRATIONS).fetch_all(&mut *tx).await.map_err(unavailable)?;
    tx.commit().await.map_err(unavailable)?;

    let mut applied = 0;
    for row in rows {
        applied = row.try_get::<i64, _>(0).map_err(unavailable)?;
    }
    let newest = MIGRATIONS_KNOWN.last().map_or(0, |known| known.version);
    if applied > newest {
        return Err(Failure::new(
            Reason::StoreUnavailable,
            format!("the database has schema {applied}, this program knows {newest}"),
        )
        .hint("start the version of stacyvm that wrote the database, or a newer one"));
    }
    for migration in MIGRATIONS_KNOWN.iter().filter(|known| known.version > applied) {
        apply(pool, migration).await.map_err(unavailable)?;
    }
    Ok(())
}

async fn apply(pool: &AnyPool, migration: &Migration) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    raw_sql(migration.text).execute(&mut *tx).await?;
    sqlx::query(sql::INSERT_MIGRATION)
        .bind(migration.version)
        .bind(migration.name)
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}
