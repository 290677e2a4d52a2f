//! Sandbox rows, events and audit records in SQL: the only truth of the control plane.
//!
//! A change of a row, its events and its audit record are one transaction, and a row changes only
//! from the version that its writer has seen. One SQL text ([`sql`]) serves every database.
//! Nothing here knows providers, guests or HTTP; the engine is the only caller.

mod database;
mod execs;
mod failure;
mod keys;
mod migrate;
mod record;
mod retention;
mod row;
mod sandboxes;
mod sql;
mod sqlite;
mod statement;
mod value;

pub use database::Store;
pub use keys::{Inserted, Key};
pub use record::{ACTOR_SYSTEM, AuditEntry, AuditRow, NewEvent, Record};
pub use retention::Purged;
pub use sandboxes::{ActiveCount, Limits, Shown, TransitionError};
