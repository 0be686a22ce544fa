-- The alert in whose message this one is told, when one trouble is behind many alerts.
ALTER TABLE alerts ADD COLUMN told_with TEXT;
CREATE INDEX alerts_told_with ON alerts (told_with, told_fired_ts) WHERE told_with IS NOT NULL;
CREATE INDEX alerts_leading ON alerts (check_name, told_fired_ts) WHERE told_with IS NULL AND state = 'firing';
