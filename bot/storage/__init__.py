"""SQLite: one file, one connection, one repository a table family."""
