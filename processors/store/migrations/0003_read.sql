-- Nothing from this offset on is applied before paused_until, so that two generations can be compared.
ALTER TABLE consumer_offset RENAME COLUMN held_at TO pause_at;
ALTER TABLE consumer_offset RENAME COLUMN held_until TO paused_until;
