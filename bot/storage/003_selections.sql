CREATE TABLE selections (
    channel TEXT PRIMARY KEY,
    run     TEXT NOT NULL
) STRICT;
