-- Times are epoch seconds, those named _ms epoch milliseconds. Objects and arrays are JSON text.

CREATE TABLE apps (
    app_id        TEXT    NOT NULL PRIMARY KEY,
    name          TEXT    NOT NULL,
    token_sha256  BLOB    NOT NULL UNIQUE,
    ip_cidrs      TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    last_used_at  INTEGER,
    revoked_at    INTEGER
) STRICT;

-- The name of a revoked app may be given again, to a new app.
CREATE UNIQUE INDEX apps_name ON apps (name) WHERE revoked_at IS NULL;

-- `session_key` stands for the session in the large tables. It is never given twice (AUTOINCREMENT), because
-- the events of a removed session may still wait to be deleted.
CREATE TABLE sessions (
    session_key       INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id        TEXT    NOT NULL UNIQUE,
    app_id            TEXT    NOT NULL,
    app_name          TEXT    NOT NULL,
    kind              TEXT    NOT NULL,
    agent             TEXT    NOT NULL,
    cwd               TEXT    NOT NULL,
    options           TEXT    NOT NULL,
    meta              TEXT    NOT NULL,
    created_at        INTEGER NOT NULL,
    last_turn_at      INTEGER,
    turn_count        INTEGER NOT NULL,
    closed_at         INTEGER,
    close_reason      TEXT,
    agent_session_id  TEXT,
    forked_from       TEXT
) STRICT;

CREATE INDEX sessions_of_app ON sessions (app_id, kind, created_at, session_key);
CREATE INDEX sessions_open ON sessions (session_key) WHERE closed_at IS NULL;
CREATE INDEX sessions_closed ON sessions (closed_at, session_key) WHERE closed_at IS NOT NULL;

CREATE TABLE turns (
    session_key    INTEGER NOT NULL,
    turn_index     INTEGER NOT NULL,
    status         TEXT    NOT NULL,
    started_at_ms  INTEGER NOT NULL,
    stop_reason    TEXT,
    ok             INTEGER,
    duration_ms    INTEGER,
    error          TEXT,
    detail         TEXT,
    usage          TEXT,
    model          TEXT,
    extra          TEXT,
    PRIMARY KEY (session_key, turn_index)
) STRICT, WITHOUT ROWID;

CREATE INDEX turns_unfinished ON turns (session_key, turn_index) WHERE status IN ('queued', 'running');

-- With a rowid: rows of all sessions are then appended at one place and only the small index is written all
-- over. Under interleaved sessions that was measured to take twice as many rows a second as WITHOUT ROWID.
CREATE TABLE events (
    session_key  INTEGER NOT NULL,
    seq          INTEGER NOT NULL CHECK (seq > 0),
    type         TEXT    NOT NULL,
    turn_index   INTEGER,
    ts           INTEGER NOT NULL,
    data         TEXT    NOT NULL,
    PRIMARY KEY (session_key, seq)
) STRICT;

-- Where each turn's part of the log begins and ends: one turn is read without the rest of its session.
CREATE INDEX events_of_turns ON events (session_key, turn_index, seq)
    WHERE type IN ('turn_queued', 'turn_start', 'turn_end');

CREATE INDEX events_permission_answers ON events (session_key, json_extract(data, '$.permission_id'))
    WHERE type = 'permission_answer';

-- Sessions that are being copied and have their events, in pieces, before their row.
CREATE TABLE copies (
    session_key  INTEGER PRIMARY KEY,
    session_id   TEXT    NOT NULL UNIQUE
) STRICT;

-- Sessions that are gone and whose events are still being deleted, piece by piece.
CREATE TABLE removed_sessions (
    session_key  INTEGER PRIMARY KEY
) STRICT;

CREATE TABLE uploads (
    token       TEXT    NOT NULL PRIMARY KEY,
    app_id      TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    size        INTEGER NOT NULL,
    sha256      TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX uploads_expiry ON uploads (expires_at);
CREATE INDEX uploads_blob ON uploads (sha256);

-- What came of POSTs that named a key, so that the same POST again does nothing again.
CREATE TABLE keys (
    app_id       TEXT    NOT NULL,
    key          TEXT    NOT NULL,
    fingerprint  BLOB    NOT NULL,
    created_at   INTEGER NOT NULL,
    session_id   TEXT,
    turn_index   INTEGER,
    answer       TEXT,
    PRIMARY KEY (app_id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX keys_age ON keys (created_at);

CREATE TABLE audit (
    audit_key            INTEGER PRIMARY KEY,
    at_ms                INTEGER NOT NULL,
    app_id               TEXT    NOT NULL,
    app_name             TEXT    NOT NULL,
    kind                 TEXT    NOT NULL,
    session_id           TEXT    NOT NULL,
    turn_index           INTEGER NOT NULL,
    agent                TEXT    NOT NULL,
    model                TEXT,
    duration_ms          INTEGER NOT NULL,
    stop_reason          TEXT    NOT NULL,
    ok                   INTEGER NOT NULL,
    prompt_bytes         INTEGER NOT NULL,
    answer_bytes         INTEGER NOT NULL,
    files                INTEGER NOT NULL,
    input_tokens         INTEGER NOT NULL,
    output_tokens        INTEGER NOT NULL,
    cached_read_tokens   INTEGER NOT NULL,
    cached_write_tokens  INTEGER NOT NULL,
    thought_tokens       INTEGER NOT NULL,
    total_tokens         INTEGER NOT NULL,
    cost_usd             REAL,
    estimated            INTEGER NOT NULL,
    prompt               TEXT
) STRICT;

CREATE INDEX audit_of_app ON audit (app_id, audit_key);

-- Holds all that sums of usage are made of: a year of an app's turns is read in one piece, not row by row.
CREATE INDEX audit_usage ON audit (
    app_id, at_ms, agent, model, duration_ms, input_tokens, output_tokens, cached_read_tokens, cached_write_tokens,
    thought_tokens, total_tokens, cost_usd, estimated
);
