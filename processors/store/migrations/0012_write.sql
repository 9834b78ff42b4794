-- Problems of which an operator was told, so that no other process tells the same again.
CREATE TABLE IF NOT EXISTS notified (
    problem text        PRIMARY KEY,
    -- The greatest count that was told, or the current one when that is lower.
    level   bigint      NOT NULL,
    since   timestamptz NOT NULL,
    told_at timestamptz NOT NULL DEFAULT now()
);
