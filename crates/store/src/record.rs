//! Events and audit records: what is written down beside a change, in the same transaction.

use std::collections::BTreeMap;

use model::{Event, EventKind, Failure, SandboxId, Timestamp};

use crate::database::Store;
use crate::failure::damaged;
use crate::sql;
use crate::statement::{Done, Statement, Written};
use crate::value::Row;

/// The actor of what nobody asked for: expiry, reconciling, recovery.
pub const ACTOR_SYSTEM: &str = "system";

/// The most text that an audit record keeps as its detail, in bytes: enough for a path, not for
/// contents.
const AUDIT_DETAIL_BYTES_MAX: usize = 2048;

/// An event before it has its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// What happened.
    pub kind: EventKind,
    /// To which sandbox.
    pub sandbox: Option<SandboxId>,
    /// When.
    pub at: Timestamp,
    /// Facts, by name.
    pub data: BTreeMap<String, String>,
}

/// Who asked for what, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// On whose behalf, or [`ACTOR_SYSTEM`].
    pub actor: String,
    /// What was done: `sandbox.create`, `exec`, `file.write`, …
    pub action: &'static str,
    /// To which sandbox.
    pub sandbox: Option<SandboxId>,
    /// What came of it, in a word.
    pub outcome: String,
    /// The request that asked for it.
    pub request_id: Option<String>,
    /// What is needed to tell it from others; cut at 2 KiB. Never contents.
    pub detail: String,
}

/// An audit record that was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its place in the order of all records, from 1, without gaps.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// On whose behalf.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// To which sandbox.
    pub sandbox: Option<String>,
    /// What came of it.
    pub outcome: String,
    /// The request that asked for it.
    pub request_id: Option<String>,
    /// What tells it from others.
    pub detail: String,
}

/// What is written down in one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Events, in order.
    pub events: Vec<NewEvent>,
    /// Audit records, in order.
    pub audit: Vec<AuditEntry>,
}

impl Record {
    /// Adds what `other` has.
    pub fn extend(&mut self, other: Self) {
        self.events.extend(other.events);
        self.audit.extend(other.audit);
    }

    /// Whether there is nothing to write down.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.audit.is_empty()
    }
}

impl Store {
    /// Writes down what is not the change of a row.
    pub async fn append(&self, record: &Record) -> Result<(), Failure> {
        if record.is_empty() {
            return Ok(());
        }
        self.commit(record, []).await.map(drop)
    }

    /// Commits `record` and, with it, statements each of which must change a row. False when one
    /// did not: then nothing was written.
    pub(crate) async fn commit(
        &self,
        record: &Record,
        changes: impl IntoIterator<Item = Statement>,
    ) -> Result<bool, Failure> {
        let mut statements = statements(record);
        statements.extend(changes.into_iter().map(Statement::must_change));
        match self.database.write(statements).await? {
            Written::Committed(all) => {
                let numbers = all.first().map(|done: &Done| done.rows.as_slice());
                if let Some([row]) = numbers {
                    self.announce(row.integer(0)?);
                }
                Ok(true)
            }
            Written::Unchanged => Ok(false),
        }
    }

    /// Up to `limit` events with a number over `seq`, in order.
    pub async fn events_after(&self, seq: i64, limit: u32) -> Result<Vec<Event>, Failure> {
        let statement = Statement::new(sql::EVENTS_AFTER).bind(seq).bind(limit);
        self.database.scan(statement).await?.iter().map(event).collect()
    }

    /// The number of the last event; 0 before the first.
    pub async fn last_seq(&self) -> Result<i64, Failure> {
        let rows = self.database.look_up(&Statement::new(sql::LAST_SEQ)).await?;
        rows.first().ok_or_else(|| damaged("counter", "no row"))?.integer(0)
    }

    /// Up to `limit` audit records with a number over `seq`, in order.
    pub async fn audit_after(&self, seq: i64, limit: u32) -> Result<Vec<AuditRow>, Failure> {
        let statement = Statement::new(sql::AUDIT_AFTER).bind(seq).bind(limit);
        self.database.scan(statement).await?.iter().map(audit).collect()
    }

    /// Tells the followers of events that there are some up to `seq`.
    pub(crate) fn announce(&self, seq: i64) {
        self.committed.send_if_modified(|last| {
            let newer = seq > *last;
            *last = seq.max(*last);
            newer
        });
    }
}

/// The statement that gives out so many event and audit numbers and returns the last of each. It
/// is the first in its transaction: the counters are where writers wait for each other.
pub(crate) fn numbers(events: i64, audits: i64) -> Statement {
    Statement::new(sql::NUMBERS).bind(events).bind(audits)
}

/// What writes a record down. An entry finds its number by its distance from the last one that
/// its transaction has taken.
fn statements(record: &Record) -> Vec<Statement> {
    let (events, audits) = (count(record.events.len()), count(record.audit.len()));
    let mut statements = vec![numbers(events, audits)];
    for (event, behind) in record.events.iter().zip((0..events).rev()) {
        statements.push(
            Statement::new(sql::INSERT_EVENT)
                .bind(behind)
                .bind(event.kind.word())
                .bind(event.sandbox.as_ref().map(SandboxId::as_str))
                .bind(event.at.as_micros())
                .bind(map_to_text(&event.data)),
        );
    }
    for (entry, behind) in record.audit.iter().zip((0..audits).rev()) {
        statements.push(
            Statement::new(sql::INSERT_AUDIT)
                .bind(behind)
                .bind(entry.at.as_micros())
                .bind(entry.actor.as_str())
                .bind(entry.action)
                .bind(entry.sandbox.as_ref().map(SandboxId::as_str))
                .bind(entry.outcome.as_str())
                .bind(entry.request_id.as_deref())
                .bind(cut(&entry.detail)),
        );
    }
    statements
}

fn count(length: usize) -> i64 {
    i64::try_from(length).expect("a record's entries fit in memory")
}

/// The text up to [`AUDIT_DETAIL_BYTES_MAX`], at a character's edge.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(AUDIT_DETAIL_BYTES_MAX)]
}

/// A map as the text of a column.
pub(crate) fn map_to_text(map: &BTreeMap<String, String>) -> String {
    serde_json::to_string(map).expect("a map of strings is always JSON")
}

/// The map that a column's text is.
pub(crate) fn map_from_text(text: &str) -> Result<BTreeMap<String, String>, Failure> {
    serde_json::from_str(text).map_err(|_| damaged("map", text))
}

fn event(row: &Row) -> Result<Event, Failure> {
    let kind = row.text(1)?;
    Ok(Event {
        seq: row.integer(0)?,
        kind: EventKind::from_word(kind).ok_or_else(|| damaged("event kind", kind))?,
        sandbox: row
            .optional_text(2)?
            .map(|id| id.parse().map_err(|_| damaged("sandbox id", id)))
            .transpose()?,
        at: Timestamp::from_micros(row.integer(3)?),
        data: map_from_text(row.text(4)?)?,
    })
}

fn audit(row: &Row) -> Result<AuditRow, Failure> {
    Ok(AuditRow {
        seq: row.integer(0)?,
        at: Timestamp::from_micros(row.integer(1)?),
        actor: row.text(2)?.to_owned(),
        action: row.text(3)?.to_owned(),
        sandbox: row.optional_text(4)?.map(str::to_owned),
        outcome: row.text(5)?.to_owned(),
        request_id: row.optional_text(6)?.map(str::to_owned),
        detail: row.text(7)?.to_owned(),
    })
}
