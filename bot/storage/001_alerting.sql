-- What the channel shall say (desired_*) and what it says (sent_*). A row is pending while desired_version > sent_version;
-- an edit that was never sent is replaced in place, so nothing superseded is ever sent.
CREATE TABLE messages (
    key TEXT PRIMARY KEY,
    channel TEXT,                                  -- NULL: the alert channel
    thread_key TEXT,                               -- the root of its thread; NULL when it stands in the channel
    desired TEXT NOT NULL,                         -- JSON
    desired_hash TEXT NOT NULL,
    desired_version INTEGER NOT NULL,
    desired_ts REAL NOT NULL,                      -- when the oldest wish that was not yet sent was made
    urgent INTEGER NOT NULL,                       -- may overtake across threads; 2 before 1 before 0
    seq INTEGER NOT NULL,                          -- place in the queue
    sent_version INTEGER NOT NULL DEFAULT 0,
    sent_hash TEXT,
    sent_ts REAL,                                  -- when it first stood in the channel
    ts TEXT,                                       -- Slack's id of it
    posted_channel TEXT,
    created_ts REAL NOT NULL,
    created_seq INTEGER NOT NULL,                  -- order within its thread
    attempts INTEGER NOT NULL DEFAULT 0,           -- failures since it was last sent
    next_try_ts REAL NOT NULL DEFAULT 0,
    refused INTEGER NOT NULL DEFAULT 0,
    last_error TEXT
) STRICT;
CREATE INDEX messages_pending ON messages (seq) WHERE desired_version > sent_version;
CREATE INDEX messages_posted ON messages (posted_channel, ts);
CREATE INDEX messages_thread ON messages (thread_key, created_seq);

CREATE TABLE alerts (
    fingerprint TEXT PRIMARY KEY,
    run TEXT NOT NULL,
    check_name TEXT NOT NULL,
    state TEXT NOT NULL,
    severity TEXT NOT NULL,
    finding TEXT NOT NULL,                         -- JSON
    since_ts REAL NOT NULL,
    updated_ts REAL NOT NULL,
    resolved_ts REAL,
    acked_by TEXT,
    acked_ts REAL,
    told INTEGER NOT NULL,
    times_fired INTEGER NOT NULL,
    told_ts REAL,                                  -- the told_* columns are NULL while it was never announced
    told_fired_ts REAL,
    told_times_fired INTEGER,
    told_severity TEXT,
    num_repeats INTEGER NOT NULL DEFAULT 0,
    num_escalations INTEGER NOT NULL DEFAULT 0,
    called INTEGER NOT NULL DEFAULT 0,             -- whether its own message mentions the people on call
    is_open INTEGER NOT NULL                       -- time alone can still change it, or what is told of it
) STRICT;
CREATE INDEX alerts_open ON alerts (run) WHERE is_open = 1;
CREATE INDEX alerts_firing ON alerts (since_ts) WHERE state = 'firing';
CREATE INDEX alerts_told ON alerts (run, check_name, told_fired_ts);

-- Tells a cache in memory whether it still agrees with what was committed.
CREATE TABLE alert_revisions (run TEXT PRIMARY KEY, revision INTEGER NOT NULL) STRICT;

CREATE TABLE silences (
    id INTEGER PRIMARY KEY,
    fingerprint TEXT,
    run TEXT,
    check_pattern TEXT,
    max_severity TEXT NOT NULL,
    until_ts REAL NOT NULL,
    made_by TEXT NOT NULL,
    created_ts REAL NOT NULL,
    ended_by TEXT                                  -- who ended it before its time
) STRICT;
CREATE INDEX silences_until ON silences (until_ts);

CREATE TABLE runs_seen (run_key TEXT PRIMARY KEY, first_seen_ts REAL NOT NULL) STRICT;
