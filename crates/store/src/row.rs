//! A sandbox as a row, and back.

use model::{EndReason, Failure, Phase, Reason, Resources, Sandbox, SandboxId, Timestamp};

use crate::failure::damaged;
use crate::record::{map_from_text, map_to_text};
use crate::statement::Statement;
use crate::value::Row;

/// Gives `statement` the row's 18 columns as `$1` to `$18`.
pub(crate) fn bind_all(statement: Statement, sandbox: &Sandbox) -> Statement {
    statement
        .bind(sandbox.id.as_str())
        .bind(sandbox.incarnation)
        .bind(sandbox.version)
        .bind(sandbox.phase.name())
        .bind(sandbox.phase.end_reason().map(EndReason::word))
        .bind(sandbox.provider.as_str())
        .bind(sandbox.image.as_str())
        .bind(sandbox.resources.memory_mib)
        .bind(sandbox.resources.vcpus)
        .bind(sandbox.resources.pids)
        .bind(sandbox.owner.as_deref())
        .bind(map_to_text(&sandbox.metadata))
        .bind(sandbox.created_at.as_micros())
        .bind(sandbox.expires_at.as_micros())
        .bind(sandbox.updated_at.as_micros())
        .bind(sandbox.handle.as_deref())
        .bind(sandbox.failure.as_ref().map(|(reason, _)| reason.word()))
        .bind(sandbox.failure.as_ref().map(|(_, message)| message.as_str()))
}

/// The sandbox that a row is about.
pub(crate) fn sandbox(row: &Row) -> Result<Sandbox, Failure> {
    let id = row.text(0)?;
    let name = row.text(3)?;
    let why = row
        .optional_text(4)?
        .map(|word| EndReason::from_word(word).ok_or_else(|| damaged("end reason", word)))
        .transpose()?;
    Ok(Sandbox {
        id: id.parse::<SandboxId>().map_err(|_| damaged("sandbox id", id))?,
        incarnation: row.number(1)?,
        version: row.integer(2)?,
        phase: Phase::from_parts(name, why).ok_or_else(|| damaged("phase", name))?,
        provider: row.text(5)?.to_owned(),
        image: row.text(6)?.to_owned(),
        resources: Resources {
            memory_mib: row.number(7)?,
            vcpus: row.number(8)?,
            pids: row.number(9)?,
        },
        owner: row.optional_text(10)?.map(str::to_owned),
        metadata: map_from_text(row.text(11)?)?,
        created_at: Timestamp::from_micros(row.integer(12)?),
        expires_at: Timestamp::from_micros(row.integer(13)?),
        updated_at: Timestamp::from_micros(row.integer(14)?),
        handle: row.optional_text(15)?.map(str::to_owned),
        failure: failure(row)?,
    })
}

fn failure(row: &Row) -> Result<Option<(Reason, String)>, Failure> {
    let Some(word) = row.optional_text(16)? else {
        return Ok(None);
    };
    let reason = Reason::from_word(word).ok_or_else(|| damaged("failure reason", word))?;
    Ok(Some((reason, row.optional_text(17)?.unwrap_or_default().to_owned())))
}
