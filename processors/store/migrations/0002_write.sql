-- Nothing from this offset on is applied before paused_until, so that two generations can be compared.
ALTER TABLE consumer_offset RENAME COLUMN held_at TO pause_at;
ALTER TABLE consumer_offset RENAME COLUMN held_until TO paused_until;
-- A step has an input: the id of the event, rejection or timer, and what it is, for people.
ALTER TABLE saga_step RENAME COLUMN input TO input_id;
ALTER TABLE saga_step RENAME COLUMN heard TO input;
