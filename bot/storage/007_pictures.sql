ALTER TABLE messages ADD COLUMN pictures TEXT;
-- A JSON list of {file, alt}: they stay with the message whatever it comes to read.

CREATE TABLE sketches (
    key TEXT PRIMARY KEY, -- of the message that the pictures are for
    wanted TEXT NOT NULL, -- JSON
    asked_ts REAL NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    next_try_ts REAL NOT NULL DEFAULT 0
) STRICT;
