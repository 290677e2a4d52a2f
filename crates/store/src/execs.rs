//! The rows of execs that outlive the call that started them.

use std::time::Duration;

use model::{
    ExecEnd, ExecId, ExecRecord, Failure, Outcome, SandboxId, StartFailure, Timestamp, Usage,
};

use crate::database::Store;
use crate::failure::damaged;
use crate::keys::{Inserted, Key};
use crate::record::Record;
use crate::sql;
use crate::statement::Statement;
use crate::value::Row;

impl Store {
    /// Stores an exec that is about to start with what is written down about it. When `key` was
    /// used before, nothing is written and the answer is the exec that it started.
    pub async fn insert_exec(
        &self,
        exec: &ExecRecord,
        key: Option<&Key>,
        record: &Record,
    ) -> Result<Inserted<ExecId>, Failure> {
        let row = Statement::new(sql::INSERT_EXEC)
            .bind(exec.id.as_str())
            .bind(exec.sandbox.as_str())
            .bind(i64::from(exec.background))
            .bind(i64::from(exec.tty))
            .bind(exec.owner.as_deref())
            .bind(exec.started_at.as_micros());
        let key_row = key.map(|key| key.row(exec.id.as_str(), exec.started_at));
        if self.commit(record, key_row.into_iter().chain([row])).await? {
            return Ok(Inserted::New);
        }
        let before = self.used(key).await?;
        before.map(Inserted::Before).ok_or_else(|| damaged("exec", exec.id.as_str()))
    }

    /// Stores the end of an exec with what is written down about it. False when its end is known
    /// already, or the exec is not: then nothing is written.
    pub async fn end_exec(
        &self,
        id: &ExecId,
        end: &ExecEnd,
        record: &Record,
    ) -> Result<bool, Failure> {
        let failure = match &end.outcome {
            Outcome::StartFailed(failure, message) => Some((failure.word(), message.as_str())),
            Outcome::Exited(_)
            | Outcome::Signaled(_)
            | Outcome::TimedOut
            | Outcome::OomKilled
            | Outcome::Canceled
            | Outcome::SandboxLost => None,
        };
        let change = Statement::new(sql::END_EXEC)
            .bind(id.as_str())
            .bind(end.at.as_micros())
            .bind(end.outcome.word())
            .bind(i64::from(end.outcome.exit_code()))
            .bind(failure.map(|(word, _)| word))
            .bind(failure.map(|(_, message)| message))
            .bind(micros(end.duration))
            .bind(count(end.stdout_bytes))
            .bind(count(end.stderr_bytes))
            .bind(micros(end.usage.cpu))
            .bind(count(end.usage.memory_peak_bytes));
        self.commit(record, [change]).await
    }

    /// One exec of a sandbox; `None` if it never was, or is forgotten, or is not kept.
    pub async fn exec(
        &self,
        sandbox: &SandboxId,
        id: &ExecId,
    ) -> Result<Option<ExecRecord>, Failure> {
        let statement = Statement::new(sql::EXEC).bind(id.as_str()).bind(sandbox.as_str());
        self.database.look_up(&statement).await?.first().map(exec).transpose()
    }

    /// Up to `limit` execs of a sandbox, the newest first.
    pub async fn execs(&self, sandbox: &SandboxId, limit: u32) -> Result<Vec<ExecRecord>, Failure> {
        let statement = Statement::new(sql::EXECS).bind(sandbox.as_str()).bind(limit);
        self.database.scan(statement).await?.iter().map(exec).collect()
    }

    /// Every exec whose end is not known.
    pub async fn open_execs(&self) -> Result<Vec<ExecRecord>, Failure> {
        self.database.scan(Statement::new(sql::OPEN_EXECS)).await?.iter().map(exec).collect()
    }
}

fn exec(row: &Row) -> Result<ExecRecord, Failure> {
    let id = row.text(0)?;
    let sandbox = row.text(1)?;
    Ok(ExecRecord {
        id: id.parse().map_err(|_| damaged("exec id", id))?,
        sandbox: sandbox.parse().map_err(|_| damaged("sandbox id", sandbox))?,
        background: row.integer(2)? != 0,
        tty: row.integer(3)? != 0,
        owner: row.optional_text(4)?.map(str::to_owned),
        started_at: Timestamp::from_micros(row.integer(5)?),
        end: match row.optional_integer(6)? {
            Some(at) => Some(end(row, Timestamp::from_micros(at))?),
            None => None,
        },
    })
}

fn end(row: &Row, at: Timestamp) -> Result<ExecEnd, Failure> {
    let word = row.text(7)?;
    let failure = row
        .optional_text(9)?
        .map(|word| StartFailure::from_word(word).ok_or_else(|| damaged("start failure", word)))
        .transpose()?;
    let message = row.optional_text(10)?.unwrap_or_default();
    let code = i32::try_from(row.integer(8)?).unwrap_or(-1);
    let parts = failure.map(|failure| (failure, message.to_owned()));
    Ok(ExecEnd {
        at,
        outcome: Outcome::from_parts(word, code, parts).ok_or_else(|| damaged("outcome", word))?,
        duration: duration(row, 11)?,
        stdout_bytes: bytes(row, 12)?,
        stderr_bytes: bytes(row, 13)?,
        usage: Usage { cpu: duration(row, 14)?, memory_peak_bytes: bytes(row, 15)? },
    })
}

fn bytes(row: &Row, column: usize) -> Result<u64, Failure> {
    Ok(u64::try_from(row.integer(column)?).unwrap_or(0))
}

fn duration(row: &Row, column: usize) -> Result<Duration, Failure> {
    bytes(row, column).map(Duration::from_micros)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn count(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
