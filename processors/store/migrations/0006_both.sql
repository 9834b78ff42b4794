-- How far the group was in this topic when an operator set it back. Where ledger rows of it are gone, what is below is
-- passed over when it is read again: it was answered.
ALTER TABLE consumer_offset
    ADD COLUMN IF NOT EXISTS reached       bigint,
    ADD COLUMN IF NOT EXISTS reached_topic uuid,
    ADD COLUMN IF NOT EXISTS is_answered   boolean NOT NULL DEFAULT false;

-- When it was redriven or discarded: retention counts from then. Earlier builds do not write it down.
ALTER TABLE dead_letter ADD COLUMN IF NOT EXISTS settled_at timestamptz;
