-- +goose Up

-- Names of runs and sessions, numbered in the order in which they first came.
-- An index of random names has every row of 64 concurrent runs on a page of its
-- own, and each commit writes all these pages; by number they are neighbours.
CREATE TABLE names (
    id     INTEGER NOT NULL PRIMARY KEY,
    tenant TEXT    NOT NULL,
    name   TEXT    NOT NULL,
    UNIQUE (tenant, name)
) STRICT;

-- The audit log. body is the record's exact canonical bytes; every other column
-- follows from it, and `behalf audit verify` derives them again.
CREATE TABLE audit (
    tenant     TEXT    NOT NULL,
    sequence   INTEGER NOT NULL,
    time       INTEGER NOT NULL,
    subject    TEXT    NOT NULL,
    agent      TEXT    NOT NULL,
    tool       TEXT    NOT NULL,
    action     TEXT    NOT NULL,
    phase      TEXT    NOT NULL,
    decision   TEXT    NOT NULL,
    session    INTEGER NOT NULL, -- names.id, 0 for none
    run        INTEGER NOT NULL, -- names.id, 0 for none
    call_id    TEXT    NOT NULL, -- found by the run it begins with
    loose_call TEXT    NOT NULL, -- the id of a tool's call where that is not so
    hash       TEXT    NOT NULL,
    body       BLOB    NOT NULL,
    PRIMARY KEY (tenant, sequence)
) STRICT;

-- Partial where a value is often empty or nearly always the same: an entry that
-- nobody looks for costs as much to write as one that somebody does.
CREATE INDEX audit_time     ON audit (tenant, time, sequence);
CREATE INDEX audit_subject  ON audit (tenant, subject, sequence)    WHERE subject <> '';
CREATE INDEX audit_agent    ON audit (tenant, agent, sequence)      WHERE agent <> '';
CREATE INDEX audit_tool     ON audit (tenant, tool, sequence)       WHERE tool <> '';
CREATE INDEX audit_decision ON audit (tenant, decision, sequence)   WHERE decision <> 'allow' AND decision <> '';
CREATE INDEX audit_session  ON audit (session, sequence)            WHERE session <> 0;
CREATE INDEX audit_run      ON audit (run, sequence)                WHERE run <> 0;
CREATE INDEX audit_call     ON audit (tenant, loose_call, sequence) WHERE loose_call <> '';

-- Not a defence against whoever holds the file, only against a mistake of ours.
-- +goose StatementBegin
CREATE TRIGGER audit_keeps BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_holds BEFORE DELETE ON audit
    WHEN OLD.sequence > (SELECT coalesce(max(through), 0) FROM removals WHERE tenant = OLD.tenant)
BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
-- +goose StatementEnd

CREATE TABLE checkpoints (
    number INTEGER NOT NULL PRIMARY KEY,
    line   BLOB    NOT NULL
) STRICT;

-- Allowed tool calls that have no outcome yet, so that a start after a crash
-- need not search the log.
CREATE TABLE open_calls (
    tenant   TEXT    NOT NULL,
    call_id  TEXT    NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (tenant, call_id)
) STRICT, WITHOUT ROWID;

-- What rate and budget buckets lost, per slot of time.
CREATE TABLE spends (
    bucket TEXT    NOT NULL,
    ends   INTEGER NOT NULL,
    cost   INTEGER NOT NULL,
    forget INTEGER NOT NULL,
    PRIMARY KEY (bucket, ends)
) STRICT, WITHOUT ROWID;
CREATE INDEX spends_forget ON spends (forget);

CREATE TABLE grants (
    id         TEXT    NOT NULL PRIMARY KEY,
    tenant     TEXT    NOT NULL,
    issuer     TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    workload   TEXT    NOT NULL,
    token_id   TEXT    NOT NULL,
    thumbprint TEXT    NOT NULL, -- of the token, which is not kept
    scopes     TEXT    NOT NULL,
    roles      TEXT    NOT NULL,
    tier       TEXT    NOT NULL,
    chain      TEXT    NOT NULL,
    configured TEXT    NOT NULL, -- of the chain
    email      TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    acr        TEXT    NOT NULL,
    amr        TEXT    NOT NULL,
    auth_time  INTEGER NOT NULL,
    expires    INTEGER NOT NULL,
    created    INTEGER NOT NULL
) STRICT;

-- Runs and sessions are kept under the number of their name, so that a new one
-- goes to the end of its table and to no index of random names but that of names.
CREATE TABLE runs (
    id             INTEGER NOT NULL PRIMARY KEY, -- names.id
    session        INTEGER NOT NULL,             -- names.id
    tenant         TEXT    NOT NULL,
    owner_issuer   TEXT    NOT NULL,
    owner_subject  TEXT    NOT NULL,
    target         TEXT    NOT NULL,
    kind           TEXT    NOT NULL,
    state          TEXT    NOT NULL,
    stop_reason    TEXT    NOT NULL,
    created        INTEGER NOT NULL,
    updated        INTEGER NOT NULL,
    request_id     TEXT    NOT NULL,
    method         TEXT    NOT NULL,
    request_digest TEXT    NOT NULL,
    detached       INTEGER NOT NULL
) STRICT;
CREATE INDEX runs_owner ON runs (tenant, owner_issuer, owner_subject, created);
CREATE INDEX runs_open  ON runs (tenant, owner_issuer, owner_subject) WHERE state IN ('running', 'waiting');

-- One row per request id for as long as it must be unique.
CREATE TABLE requests (
    tenant        TEXT    NOT NULL,
    owner_issuer  TEXT    NOT NULL,
    owner_subject TEXT    NOT NULL,
    method        TEXT    NOT NULL,
    request_id    TEXT    NOT NULL,
    run_id        TEXT    NOT NULL,
    digest        TEXT    NOT NULL,
    created       INTEGER NOT NULL,
    PRIMARY KEY (tenant, owner_issuer, owner_subject, method, request_id)
) STRICT;
CREATE INDEX requests_created ON requests (created);

CREATE TABLE sessions (
    id            INTEGER NOT NULL PRIMARY KEY, -- names.id
    tenant        TEXT    NOT NULL,
    owner_issuer  TEXT    NOT NULL,
    owner_subject TEXT    NOT NULL,
    target        TEXT    NOT NULL,
    created       INTEGER NOT NULL,
    updated       INTEGER NOT NULL,
    last_run      TEXT    NOT NULL,
    deleted       INTEGER NOT NULL,
    authority     TEXT    NOT NULL
) STRICT;
CREATE INDEX sessions_owner ON sessions (tenant, owner_issuer, owner_subject, created) WHERE deleted = 0;

-- What is remembered of people. Numbers only grow, so the newest is the highest.
CREATE TABLE memories (
    number  INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id      TEXT    NOT NULL UNIQUE,
    tenant  TEXT    NOT NULL,
    issuer  TEXT    NOT NULL, -- empty: a workload alone
    subject TEXT    NOT NULL,
    session TEXT    NOT NULL, -- empty: about the person
    created INTEGER NOT NULL,
    digest  BLOB    NOT NULL, -- of the text, to find the same one again
    text    TEXT    NOT NULL
) STRICT;
CREATE INDEX memories_owner ON memories (tenant, issuer, subject, number, session);
CREATE UNIQUE INDEX memories_same ON memories (tenant, issuer, subject, session, digest);
CREATE INDEX memories_session ON memories (tenant, session) WHERE session <> '';

-- Approvals. body is what was asked, as JSON, and never changes; the columns are
-- where it stands.
CREATE TABLE approvals (
    id       TEXT    NOT NULL PRIMARY KEY,
    tenant   TEXT    NOT NULL,
    asker    TEXT    NOT NULL,
    call_id  TEXT    NOT NULL,
    run      TEXT    NOT NULL, -- that waits; empty for a direct call
    state    TEXT    NOT NULL, -- pending, approved, denied, consumed
    created  INTEGER NOT NULL,
    expires  INTEGER NOT NULL,
    decided  INTEGER NOT NULL,
    answer   TEXT    NOT NULL, -- who decided and what they said, as JSON
    used_by  TEXT    NOT NULL,
    told     INTEGER NOT NULL, -- the run knows how it ended
    body     TEXT    NOT NULL,
    UNIQUE (tenant, call_id)
) STRICT;
CREATE INDEX approvals_tenant  ON approvals (tenant, created, id);
CREATE INDEX approvals_pending ON approvals (tenant, asker, expires) WHERE state = 'pending';
CREATE INDEX approvals_untold  ON approvals (expires) WHERE told = 0 AND run <> '';

-- What is stopped, by kind, the tenant where it holds ('' for all) and name.
CREATE TABLE locks (
    kind       TEXT    NOT NULL,
    tenant     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    created    INTEGER NOT NULL,
    expires    INTEGER NOT NULL, -- 0: until it is lifted
    by_tenant  TEXT    NOT NULL,
    by_issuer  TEXT    NOT NULL,
    by_subject TEXT    NOT NULL,
    by_email   TEXT    NOT NULL,
    PRIMARY KEY (kind, tenant, name)
) STRICT, WITHOUT ROWID;

-- How far each journal is in the audit log, so that no line of it gets there twice.
CREATE TABLE journals (
    id    TEXT    NOT NULL PRIMARY KEY,
    taken INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How many sessions each owner keeps.
CREATE TABLE keepers (
    tenant   TEXT    NOT NULL,
    issuer   TEXT    NOT NULL, -- empty: a workload alone
    subject  TEXT    NOT NULL,
    sessions INTEGER NOT NULL,
    PRIMARY KEY (tenant, issuer, subject)
) STRICT, WITHOUT ROWID;

-- What a probe writes, to see whether the disk takes something.
CREATE TABLE pulse (
    id   INTEGER NOT NULL PRIMARY KEY,
    beat INTEGER NOT NULL
) STRICT;

-- What was delegated to sub-agents elsewhere, by whom.
CREATE INDEX grants_delegated ON grants (tenant, issuer, subject, workload) WHERE chain <> '[]';

-- Who has spoken in a session, with the grant of their newest words.
CREATE TABLE voices (
    tenant   TEXT NOT NULL,
    session  TEXT NOT NULL,
    issuer   TEXT NOT NULL,
    subject  TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    PRIMARY KEY (tenant, session, issuer, subject)
) STRICT, WITHOUT ROWID;

-- Answers to calls with a request id, by the call; see requests.
CREATE TABLE answers (
    tenant  TEXT    NOT NULL,
    call_id TEXT    NOT NULL,
    body    BLOB    NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (tenant, call_id)
) STRICT;
CREATE INDEX answers_created ON answers (created);

-- How far retention removes the rows of each chain. The row of the chain that says
-- so is what counts; this says which it is.
CREATE TABLE removals (
    tenant     TEXT    NOT NULL PRIMARY KEY,
    through    INTEGER NOT NULL,
    record     INTEGER NOT NULL, -- audit.sequence
    checkpoint INTEGER NOT NULL  -- that signed that row; nothing goes before the witness has it
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE removals;
DROP TABLE answers;
DROP TABLE pulse;
DROP TABLE keepers;
DROP TABLE journals;
DROP TABLE locks;
DROP TABLE approvals;
DROP TABLE memories;
DROP TABLE voices;
DROP TABLE sessions;
DROP TABLE requests;
DROP TABLE runs;
DROP TABLE grants;
DROP TABLE spends;
DROP TABLE open_calls;
DROP TABLE checkpoints;
DROP TABLE audit;
DROP TABLE names;
