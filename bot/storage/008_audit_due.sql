-- Entries of the audit log that were committed with the act they tell of, and may not stand in its file yet.
CREATE TABLE audit_due (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    mark TEXT NOT NULL UNIQUE,                     -- stands in the entry too: written twice it is known
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,                          -- JSON
    ts REAL NOT NULL
) STRICT;
