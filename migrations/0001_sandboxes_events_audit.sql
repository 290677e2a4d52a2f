-- Sandboxes, what happened to them, and who asked for it.
--
-- The text runs unchanged on SQLite and on PostgreSQL: TEXT and BIGINT are the only types, moments
-- are microseconds since 1970-01-01 UTC.

CREATE TABLE sandboxes (
    id TEXT NOT NULL PRIMARY KEY,
    incarnation BIGINT NOT NULL,
    version BIGINT NOT NULL,
    phase TEXT NOT NULL,
    end_reason TEXT,
    provider TEXT NOT NULL,
    image TEXT NOT NULL,
    memory_mib BIGINT NOT NULL,
    vcpus BIGINT NOT NULL,
    pids BIGINT NOT NULL,
    owner TEXT,
    metadata TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    handle TEXT,
    failure_reason TEXT,
    failure_message TEXT
);

-- Limits count these rows, and reconciling reads them.
CREATE INDEX sandboxes_live ON sandboxes (owner) WHERE phase <> 'gone';

-- The reaper asks for the earliest one.
CREATE INDEX sandboxes_expiry ON sandboxes (expires_at)
    WHERE phase IN ('starting', 'running', 'lost');

-- Lists show these rows, the newest first.
CREATE INDEX sandboxes_shown ON sandboxes (created_at, id)
    WHERE phase <> 'gone' OR end_reason = 'failed';

-- Retention deletes the oldest.
CREATE INDEX sandboxes_ended ON sandboxes (updated_at) WHERE phase = 'gone';

CREATE TABLE events (
    seq BIGINT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    sandbox TEXT,
    at BIGINT NOT NULL,
    data TEXT NOT NULL
);

CREATE INDEX events_at ON events (at);

CREATE TABLE audit (
    seq BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    sandbox TEXT,
    outcome TEXT NOT NULL,
    request_id TEXT,
    detail TEXT NOT NULL
);

CREATE INDEX audit_sandbox ON audit (sandbox, seq);

-- One row. Every transaction that writes changes it first, so that numbers are given in the order
-- of commits and without gaps.
CREATE TABLE counters (
    event_seq BIGINT NOT NULL,
    audit_seq BIGINT NOT NULL
);

INSERT INTO counters (event_seq, audit_seq) VALUES (0, 0);
