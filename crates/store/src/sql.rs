//! Every statement that the store runs, as one text for SQLite and PostgreSQL: `$n` placeholders,
//! no dialect. What is not portable is refused by the test below.

/// The columns of a sandbox in the order in which [`crate::row`] writes and reads them.
macro_rules! columns {
    () => {
        "id, incarnation, version, phase, end_reason, provider, image, memory_mib, vcpus, pids, \
         owner, metadata, created_at, expires_at, updated_at, handle, failure_reason, \
         failure_message"
    };
}

/// The columns of an exec in the order in which [`crate::execs`] reads them.
macro_rules! exec_columns {
    () => {
        "id, sandbox, background, tty, owner, started_at, ended_at, outcome, exit_code, \
         start_failure, message, duration_us, stdout_bytes, stderr_bytes, cpu_us, \
         memory_peak_bytes"
    };
}

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $text:expr;)*) => {
        $($(#[$doc])* pub(crate) const $name: &str = $text;)*

        /// Every statement, for the test of portability.
        #[cfg(test)]
        const ALL: &[(&str, &str)] = &[$((stringify!($name), $name),)*];
    };
}

statements! {
    /// Gives out event and audit numbers; the first statement of every transaction that writes.
    NUMBERS = "UPDATE counters SET event_seq = event_seq + $1, audit_seq = audit_seq + $2 \
               RETURNING event_seq, audit_seq";

    /// The last event's number.
    LAST_SEQ = "SELECT event_seq FROM counters";

    /// A new row, if the limits ($19 in all, $20 for the owner, 0 for none) leave room for it.
    INSERT_SANDBOX = concat!(
        "INSERT INTO sandboxes (", columns!(), ") \
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18 \
         WHERE ($19 = 0 OR (SELECT COUNT(*) FROM sandboxes WHERE phase <> 'gone') < $19) \
         AND ($20 = 0 OR (SELECT COUNT(*) FROM sandboxes WHERE phase <> 'gone' AND owner = $11) \
         < $20)"
    );

    /// The row's mutable columns, if it still has the version that was seen.
    UPDATE_SANDBOX =
        "UPDATE sandboxes SET version = $3, phase = $4, end_reason = $5, expires_at = $6, \
         updated_at = $7, handle = $8, failure_reason = $9, failure_message = $10 \
         WHERE id = $1 AND version = $2";

    /// One row.
    SANDBOX = concat!("SELECT ", columns!(), " FROM sandboxes WHERE id = $1");

    /// What lists show: all but what was destroyed.
    SANDBOXES_SHOWN = concat!(
        "SELECT ", columns!(), " FROM sandboxes WHERE phase <> 'gone' OR end_reason = 'failed' \
         ORDER BY created_at DESC, id DESC"
    );

    /// Every row.
    SANDBOXES_ALL = concat!(
        "SELECT ", columns!(), " FROM sandboxes ORDER BY created_at DESC, id DESC"
    );

    /// What is not over yet.
    SANDBOXES_LIVE = concat!("SELECT ", columns!(), " FROM sandboxes WHERE phase <> 'gone'");

    /// What should have ended by $1.
    SANDBOXES_EXPIRED = concat!(
        "SELECT ", columns!(), " FROM sandboxes \
         WHERE phase IN ('starting', 'running', 'lost') AND expires_at <= $1 ORDER BY expires_at"
    );

    /// When the next one should end.
    NEXT_EXPIRY = "SELECT MIN(expires_at) FROM sandboxes \
                   WHERE phase IN ('starting', 'running', 'lost')";

    /// How many count against the limits, in all and of one owner.
    COUNT_ACTIVE =
        "SELECT COUNT(*), COUNT(CASE WHEN owner = $1 THEN 1 END) FROM sandboxes \
         WHERE phase <> 'gone'";

    /// How many count, by provider.
    COUNT_BY_PROVIDER = "SELECT provider, COUNT(*) FROM sandboxes WHERE phase <> 'gone' \
                         GROUP BY provider";

    /// Remembers what a key made, if it was not used before.
    INSERT_KEY = "INSERT INTO idempotency_keys (scope, idempotency_key, fingerprint, target, at) \
                  SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (SELECT 1 FROM idempotency_keys \
                  WHERE scope = $1 AND idempotency_key = $2)";

    /// What a key made.
    KEY = "SELECT fingerprint, target FROM idempotency_keys \
           WHERE scope = $1 AND idempotency_key = $2";

    /// An exec that has not ended.
    INSERT_EXEC = "INSERT INTO execs (id, sandbox, background, tty, owner, started_at) \
                   VALUES ($1, $2, $3, $4, $5, $6)";

    /// The end of an exec, if it is not known yet.
    END_EXEC = "UPDATE execs SET ended_at = $2, outcome = $3, exit_code = $4, \
                start_failure = $5, message = $6, duration_us = $7, stdout_bytes = $8, \
                stderr_bytes = $9, cpu_us = $10, memory_peak_bytes = $11 \
                WHERE id = $1 AND ended_at IS NULL";

    /// One exec of a sandbox.
    EXEC = concat!("SELECT ", exec_columns!(), " FROM execs WHERE id = $1 AND sandbox = $2");

    /// The execs of a sandbox.
    EXECS = concat!(
        "SELECT ", exec_columns!(), " FROM execs WHERE sandbox = $1 \
         ORDER BY started_at DESC, id DESC LIMIT $2"
    );

    /// Execs whose end is not known.
    OPEN_EXECS = concat!("SELECT ", exec_columns!(), " FROM execs WHERE ended_at IS NULL");

    /// Forgets execs that ended before $1.
    PURGE_EXECS = "DELETE FROM execs WHERE ended_at < $1";

    /// Forgets keys that were used before $1.
    PURGE_KEYS = "DELETE FROM idempotency_keys WHERE at < $1";

    /// An event, $1 behind the last number given out.
    INSERT_EVENT = "INSERT INTO events (seq, kind, sandbox, at, data) \
                    SELECT event_seq - $1, $2, $3, $4, $5 FROM counters";

    /// What happened after a number.
    EVENTS_AFTER = "SELECT seq, kind, sandbox, at, data FROM events WHERE seq > $1 \
                    ORDER BY seq LIMIT $2";

    /// An audit record, $1 behind the last number given out.
    INSERT_AUDIT = "INSERT INTO audit (seq, at, actor, action, sandbox, outcome, request_id, \
                    detail) SELECT audit_seq - $1, $2, $3, $4, $5, $6, $7, $8 FROM counters";

    /// Audit records after a number.
    AUDIT_AFTER = "SELECT seq, at, actor, action, sandbox, outcome, request_id, detail FROM audit \
                   WHERE seq > $1 ORDER BY seq LIMIT $2";

    /// Forgets what ended before $1.
    PURGE_SANDBOXES = "DELETE FROM sandboxes WHERE phase = 'gone' AND updated_at < $1";

    /// Forgets what happened before $1.
    PURGE_EVENTS = "DELETE FROM events WHERE at < $1";

    /// Where the applied migrations are remembered.
    CREATE_MIGRATIONS = "CREATE TABLE IF NOT EXISTS schema_migrations \
                         (version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL)";

    /// The applied migrations.
    MIGRATIONS = "SELECT version, name FROM schema_migrations ORDER BY version";

    /// Remembers a migration.
    INSERT_MIGRATION = "INSERT INTO schema_migrations (version, name) VALUES ($1, $2)";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::MIGRATIONS_KNOWN;

    /// Words that one of the two databases does not know or understands in another way.
    const DIALECT: [&str; 14] = [
        "?",
        "AUTOINCREMENT",
        "INTEGER",
        "SERIAL",
        "DATETIME",
        "BLOB",
        "BYTEA",
        "BOOLEAN",
        "OR REPLACE",
        "OR IGNORE",
        "PRAGMA",
        "ROWID",
        "::",
        "STRICT",
    ];

    #[test]
    fn every_statement_runs_on_both_databases() {
        let migrations = MIGRATIONS_KNOWN.iter().map(|known| (known.name, known.text));
        for (name, text) in ALL.iter().copied().chain(migrations) {
            let text = text.to_uppercase();
            for word in DIALECT {
                assert!(!text.contains(word), "{name} has {word}");
            }
        }
    }

    #[test]
    fn a_migration_is_split_into_its_statements_by_semicolons_alone() {
        for known in MIGRATIONS_KNOWN {
            let text = known.text;
            assert!(!text.contains("/*") && !text.contains("';'"), "{}", known.name);
            assert!(text.lines().all(|line| !line.starts_with("--") || !line.contains(';')));
        }
    }
}
