//! A sandbox as a row, and back.

use model::{EndReason, Failure, Phase, Reason, Resources, Sandbox, SandboxId, Timestamp};
use sqlx::any::{Any, AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{ColumnIndex, Decode, Row, Type};

use crate::failure::{damaged, unavailable};
use crate::record::{map_from_text, map_to_text};

/// Gives `query` the row's 18 columns as `$1` to `$18`.
pub(crate) fn bind_all<'q>(
    query: Query<'q, Any, AnyArguments>,
    sandbox: &Sandbox,
) -> Query<'q, Any, AnyArguments> {
    query
        .bind(sandbox.id.as_str().to_owned())
        .bind(i64::from(sandbox.incarnation))
        .bind(sandbox.version)
        .bind(sandbox.phase.name())
        .bind(sandbox.phase.end_reason().map(EndReason::word))
        .bind(sandbox.provider.clone())
        .bind(sandbox.image.clone())
        .bind(i64::from(sandbox.resources.memory_mib))
        .bind(i64::from(sandbox.resources.vcpus))
        .bind(i64::from(sandbox.resources.pids))
        .bind(sandbox.owner.clone())
        .bind(map_to_text(&sandbox.metadata))
        .bind(sandbox.created_at.as_micros())
        .bind(sandbox.expires_at.as_micros())
        .bind(sandbox.updated_at.as_micros())
        .bind(sandbox.handle.clone())
        .bind(sandbox.failure.as_ref().map(|(reason, _)| reason.word()))
        .bind(sandbox.failure.as_ref().map(|(_, message)| message.clone()))
}

/// The sandbox that a row is about.
pub(crate) fn sandbox(row: &AnyRow) -> Result<Sandbox, Failure> {
    let id: String = get(row, 0)?;
    let name: String = get(row, 3)?;
    let why: Option<String> = get(row, 4)?;
    let why = why
        .map(|word| EndReason::from_word(&word).ok_or_else(|| damaged("end reason", &word)))
        .transpose()?;
    let metadata: String = get(row, 11)?;
    Ok(Sandbox {
        id: id.parse::<SandboxId>().map_err(|_| damaged("sandbox id", &id))?,
        incarnation: number(row, 1)?,
        version: get(row, 2)?,
        phase: Phase::from_parts(&name, why).ok_or_else(|| damaged("phase", &name))?,
        provider: get(row, 5)?,
        image: get(row, 6)?,
        resources: Resources {
            memory_mib: number(row, 7)?,
            vcpus: number(row, 8)?,
            pids: number(row, 9)?,
        },
        owner: get(row, 10)?,
        metadata: map_from_text(&metadata)?,
        created_at: Timestamp::from_micros(get(row, 12)?),
        expires_at: Timestamp::from_micros(get(row, 13)?),
        updated_at: Timestamp::from_micros(get(row, 14)?),
        handle: get(row, 15)?,
        failure: failure(row)?,
    })
}

fn failure(row: &AnyRow) -> Result<Option<(Reason, String)>, Failure> {
    let Some(word) = get::<Option<String>>(row, 16)? else {
        return Ok(None);
    };
    let reason = Reason::from_word(&word).ok_or_else(|| damaged("failure reason", &word))?;
    let message: Option<String> = get(row, 17)?;
    Ok(Some((reason, message.unwrap_or_default())))
}

fn get<'r, T>(row: &'r AnyRow, column: usize) -> Result<T, Failure>
where
    T: Decode<'r, Any> + Type<Any>,
    usize: ColumnIndex<AnyRow>,
{
    row.try_get(column).map_err(unavailable)
}

fn number(row: &AnyRow, column: usize) -> Result<u32, Failure> {
    let value: i64 = get(row, column)?;
    u32::try_from(value).map_err(|_| damaged("number", &value.to_string()))
}
