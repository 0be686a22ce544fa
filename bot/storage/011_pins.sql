CREATE TABLE pins (
    key TEXT NOT NULL,             -- of the message
    channel TEXT NOT NULL,
    ts TEXT NOT NULL,
    state TEXT NOT NULL,           -- wanted: it may be pinned; pinned: Slack said so; refused: it never will be
    PRIMARY KEY (channel, ts)
) STRICT;
