-- Approvals, their votes, operations and the journal of operations.
-- "body" is the whole record as JSON; the columns beside it are what conditions and look-ups need, and they win.

CREATE TABLE approvals (
    id TEXT PRIMARY KEY,
    run TEXT NOT NULL,
    state TEXT NOT NULL,
    created_ts REAL NOT NULL,
    body TEXT NOT NULL
) STRICT;

-- One question a run at a time: a second one must void the first in the same transaction.
CREATE UNIQUE INDEX approvals_pending ON approvals (run) WHERE state = 'pending';

CREATE TABLE votes (
    approval TEXT NOT NULL REFERENCES approvals (id),
    user TEXT NOT NULL,
    ts REAL NOT NULL,
    PRIMARY KEY (approval, user)
) STRICT;

CREATE TABLE operations (
    id TEXT PRIMARY KEY,
    run TEXT NOT NULL,
    state TEXT NOT NULL,
    fence INTEGER NOT NULL,
    halted_by TEXT,
    created_ts REAL NOT NULL,
    updated_ts REAL NOT NULL,
    body TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX operations_open ON operations (run) WHERE state = 'open';
CREATE INDEX operations_run ON operations (run, created_ts);

CREATE TABLE journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    operation TEXT NOT NULL REFERENCES operations (id),
    ts REAL NOT NULL,
    step TEXT NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL,
    fence INTEGER NOT NULL
) STRICT;

CREATE INDEX journal_operation ON journal (operation, seq);

CREATE TRIGGER journal_is_append_only_update BEFORE UPDATE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

CREATE TRIGGER journal_is_append_only_delete BEFORE DELETE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

-- Requests that wait for the end of an epoch, and decisions to go on, each with who and why.
CREATE TABLE intents (
    run TEXT NOT NULL,
    kind TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    epoch INTEGER,
    user TEXT NOT NULL,
    why TEXT NOT NULL,
    channel TEXT,
    thread_of TEXT,
    ts REAL NOT NULL,
    PRIMARY KEY (run, kind)
) STRICT;
