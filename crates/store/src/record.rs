//! Events and audit records: what is written down beside a change, in the same transaction.

use std::collections::BTreeMap;

use model::{Event, EventKind, Failure, SandboxId, Timestamp};
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use crate::database::Store;
use crate::failure::{damaged, unavailable};
use crate::sql;

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
        let mut tx = self.writer.begin().await.map_err(unavailable)?;
        let seq = write(&mut tx, record).await.map_err(|error| self.unwritten(error))?;
        tx.commit().await.map_err(|error| self.unwritten(error))?;
        self.announce(seq);
        Ok(())
    }

    /// Up to `limit` events with a number over `seq`, in order.
    pub async fn events_after(&self, seq: i64, limit: u32) -> Result<Vec<Event>, Failure> {
        let query = sqlx::query(sql::EVENTS_AFTER).bind(seq).bind(i64::from(limit));
        let rows = query.fetch_all(&self.reader).await.map_err(unavailable)?;
        rows.iter().map(event).collect()
    }

    /// The number of the last event; 0 before the first.
    pub async fn last_seq(&self) -> Result<i64, Failure> {
        let row = sqlx::query(sql::LAST_SEQ).fetch_one(&self.reader).await.map_err(unavailable)?;
        row.try_get(0).map_err(unavailable)
    }

    /// Up to `limit` audit records with a number over `seq`, in order.
    pub async fn audit_after(&self, seq: i64, limit: u32) -> Result<Vec<AuditRow>, Failure> {
        let query = sqlx::query(sql::AUDIT_AFTER).bind(seq).bind(i64::from(limit));
        let rows = query.fetch_all(&self.reader).await.map_err(unavailable)?;
        rows.iter().map(|row| audit(row).map_err(unavailable)).collect()
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

/// Writes events and audit records, and returns the last event's number. It is the first thing in
/// its transaction: the counters are where writers wait for each other.
pub(crate) async fn write(
    tx: &mut Transaction<'static, Any>,
    record: &Record,
) -> Result<i64, sqlx::Error> {
    let (events, audits) = (count(record.events.len()), count(record.audit.len()));
    let numbers = sqlx::query(sql::NUMBERS).bind(events).bind(audits).fetch_one(&mut **tx).await?;
    let last_event: i64 = numbers.try_get(0)?;
    let last_audit: i64 = numbers.try_get(1)?;
    for (event, seq) in record.events.iter().zip(last_event - events + 1..) {
        sqlx::query(sql::INSERT_EVENT)
            .bind(seq)
            .bind(event.kind.word())
            .bind(event.sandbox.as_ref().map(|id| id.as_str().to_owned()))
            .bind(event.at.as_micros())
            .bind(map_to_text(&event.data))
            .execute(&mut **tx)
            .await?;
    }
    for (entry, seq) in record.audit.iter().zip(last_audit - audits + 1..) {
        sqlx::query(sql::INSERT_AUDIT)
            .bind(seq)
            .bind(entry.at.as_micros())
            .bind(entry.actor.clone())
            .bind(entry.action)
            .bind(entry.sandbox.as_ref().map(|id| id.as_str().to_owned()))
            .bind(entry.outcome.clone())
            .bind(entry.request_id.clone())
            .bind(cut(&entry.detail).to_owned())
            .execute(&mut **tx)
            .await?;
    }
    Ok(last_event)
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

fn event(row: &AnyRow) -> Result<Event, Failure> {
    let kind: String = row.try_get(1).map_err(unavailable)?;
    let sandbox: Option<String> = row.try_get(2).map_err(unavailable)?;
    let data: String = row.try_get(4).map_err(unavailable)?;
    Ok(Event {
        seq: row.try_get(0).map_err(unavailable)?,
        kind: EventKind::from_word(&kind).ok_or_else(|| damaged("event kind", &kind))?,
        sandbox: sandbox
            .map(|id| id.parse().map_err(|_| damaged("sandbox id", &id)))
            .transpose()?,
        at: Timestamp::from_micros(row.try_get(3).map_err(unavailable)?),
        data: map_from_text(&data)?,
    })
}

fn audit(row: &AnyRow) -> Result<AuditRow, sqlx::Error> {
    Ok(AuditRow {
        seq: row.try_get(0)?,
        at: Timestamp::from_micros(row.try_get(1)?),
        actor: row.try_get(2)?,
        action: row.try_get(3)?,
        sandbox: row.try_get(4)?,
        outcome: row.try_get(5)?,
        request_id: row.try_get(6)?,
        detail: row.try_get(7)?,
    })
}
