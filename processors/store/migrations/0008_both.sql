-- Topics that were enlarged while they were in use: partitions from `first` on were added. Whatever belongs to one of them may
-- still be sent to a lower partition until held_until; null: the topic is not enlarged yet. Of the write side only: what a
-- view reads has versions.
CREATE TABLE IF NOT EXISTS growth (
    topic      text        NOT NULL,
    first      int         NOT NULL CHECK (first > 0),
    held_until timestamptz,
    PRIMARY KEY (topic, first)
);
-- The partition is held (paused until infinity) until the group has applied all partitions below this one; null: it is not.
ALTER TABLE consumer_offset ADD COLUMN IF NOT EXISTS held_below int;
-- A key's waiting records in the order in which they came: those of a former topic, then partition by partition. Topics are
-- enlarged so that a key only ever moves to a higher partition.
CREATE INDEX IF NOT EXISTS parked_in_order
    ON parked (grp, generation, topic, key, version, ("offset" >= 0), partition, "offset");
