-- Calls beyond Slack: what goes to which target (a digest of its address), once for each firing of an alert.
CREATE TABLE pages (
    fingerprint TEXT NOT NULL,
    times_fired INTEGER NOT NULL,
    target TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('fired', 'resolved', 'held')),
    title TEXT NOT NULL,
    body TEXT NOT NULL,
    made_ts REAL NOT NULL,
    next_try_ts REAL NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    sent_ts REAL,
    -- Overtaken: the alert ended, or somebody took it, before this could be sent.
    dropped INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (fingerprint, times_fired, target, kind)
) STRICT;
CREATE INDEX pages_waiting ON pages (next_try_ts) WHERE sent_ts IS NULL AND dropped = 0;
