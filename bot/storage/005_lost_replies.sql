-- Since when a message may stand in its channel although its post was never confirmed; NULL when that can't be.
ALTER TABLE messages ADD COLUMN maybe_ts REAL;
-- Whether it was posted again although an earlier post may stand elsewhere.
ALTER TABLE messages ADD COLUMN doubtful INTEGER NOT NULL DEFAULT 0;
-- What Slack delivered lately (envelopes, events), so that nothing is carried out twice.
CREATE TABLE seen (
    id TEXT PRIMARY KEY,
    ts REAL NOT NULL
) STRICT;
CREATE INDEX seen_ts ON seen (ts);
