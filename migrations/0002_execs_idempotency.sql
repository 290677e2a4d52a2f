-- Execs that outlive the call that started them, and the answers to requests that came with a key.

CREATE TABLE execs (
    id TEXT NOT NULL PRIMARY KEY,
    sandbox TEXT NOT NULL,
    background BIGINT NOT NULL,
    tty BIGINT NOT NULL,
    owner TEXT,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    outcome TEXT,
    exit_code BIGINT,
    start_failure TEXT,
    message TEXT,
    duration_us BIGINT,
    stdout_bytes BIGINT,
    stderr_bytes BIGINT,
    cpu_us BIGINT,
    memory_peak_bytes BIGINT
);

-- Lists show these rows, the newest first.
CREATE INDEX execs_sandbox ON execs (sandbox, started_at);

-- Reconciling looks at what has not ended.
CREATE INDEX execs_open ON execs (sandbox) WHERE ended_at IS NULL;

-- Retention deletes the oldest.
CREATE INDEX execs_ended ON execs (ended_at) WHERE ended_at IS NOT NULL;

-- One row for each key that a caller has used in a scope: what the request was, and what it made.
CREATE TABLE idempotency_keys (
    scope TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    target TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (scope, idempotency_key)
);

CREATE INDEX idempotency_keys_at ON idempotency_keys (at);
