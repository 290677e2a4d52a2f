//! Brings a database to the schema that this program was built for, once, when it is opened.

use model::{Failure, Reason};

use crate::sql;
use crate::sqlite::Sqlite;
use crate::statement::Statement;

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
pub(crate) const MIGRATIONS_KNOWN: &[Migration] = &[
    Migration {
        version: 1,
        name: "sandboxes, events, audit",
        text: include_str!("../../../migrations/0001_sandboxes_events_audit.sql"),
    },
    Migration {
        version: 2,
        name: "execs, idempotency keys",
        text: include_str!("../../../migrations/0002_execs_idempotency.sql"),
    },
];

/// Applies what is missing, each step in a transaction of its own. A database that knows a step
/// which this program does not is refused: it belongs to a newer one.
pub(crate) async fn migrate(database: &Sqlite) -> Result<(), Failure> {
    database.write(vec![Statement::new(sql::CREATE_MIGRATIONS)]).await?;
    let applied = match database.scan(Statement::new(sql::MIGRATIONS)).await?.last() {
        Some(row) => row.integer(0)?,
        None => 0,
    };
    let newest = MIGRATIONS_KNOWN.last().map_or(0, |known| known.version);
    if applied > newest {
        return Err(Failure::new(
            Reason::StoreUnavailable,
            format!("the database has schema {applied}, this program knows {newest}"),
        )
        .hint("start the version of stacyvm that wrote the database, or a newer one"));
    }
    for migration in MIGRATIONS_KNOWN.iter().filter(|known| known.version > applied) {
        let mut statements: Vec<_> = statements(migration.text).map(Statement::new).collect();
        statements.push(
            Statement::new(sql::INSERT_MIGRATION).bind(migration.version).bind(migration.name),
        );
        database.write(statements).await?;
    }
    Ok(())
}

/// The statements of a migration's text. Its comments are whole lines without a semicolon and its
/// strings have none, which a test of [`crate::sql`] holds.
fn statements(text: &'static str) -> impl Iterator<Item = &'static str> {
    let code = |part: &str| {
        part.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with("--"))
    };
    text.split(';').filter(move |part| code(part))
}
