-- When the transaction began that wrote a row, by the database's clock; null: before there was this column. What was written since
-- a moment is found by it (`indexes.rs`): `occurred_at` is the sender's time. Not for long behind one that reads the table.
SET LOCAL lock_timeout = '5s';
ALTER TABLE outbox ADD COLUMN IF NOT EXISTS written_at timestamptz;
ALTER TABLE outbox ALTER COLUMN written_at SET DEFAULT now();
SET LOCAL lock_timeout = 0;

-- States of long streams on the way: folded again a page of events at a time, up to a version, before a batch needs them.
CREATE TABLE IF NOT EXISTS refolded (
    context       text   NOT NULL,
    id            text   NOT NULL,
    state_version int    NOT NULL,
    version       bigint NOT NULL,
    state         json,
    PRIMARY KEY (context, id)
);
