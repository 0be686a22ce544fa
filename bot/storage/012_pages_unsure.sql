-- Calls that were made and got no answer: the phone may have rung, so they are repeated rarely and not for ever.
ALTER TABLE pages ADD COLUMN unsure INTEGER NOT NULL DEFAULT 0;
