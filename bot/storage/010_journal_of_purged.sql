-- The journal stays append-only while its operation stands; what was purged to the archive takes its journal along.
DROP TRIGGER journal_is_append_only_delete;
CREATE TRIGGER journal_is_append_only_delete BEFORE DELETE ON journal
WHEN EXISTS (SELECT 1 FROM operations WHERE id = OLD.operation)
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
