-- Below which offset ledger rows of a group are gone: nothing there can be told from what is new, so the group is not set
-- back behind it. The id of the topic is that of its claim.
CREATE TABLE IF NOT EXISTS pruned (
    grp       text        NOT NULL,
    topic     text        NOT NULL,
    partition int         NOT NULL,
    topic_id  uuid,
    below     bigint      NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (grp, topic, partition)
);

-- How many rows of each topic were removed from the outbox.
CREATE TABLE IF NOT EXISTS outbox_pruned (
    topic text   PRIMARY KEY,
    rows  bigint NOT NULL
);

-- The inputs of steps that were removed, as numbers: a second copy still finds the first.
ALTER TABLE saga
    ADD COLUMN IF NOT EXISTS answered  bigint[],
    ADD COLUMN IF NOT EXISTS has_steps boolean NOT NULL DEFAULT true;
-- Whether request, answer and error are still there.
ALTER TABLE effect ADD COLUMN IF NOT EXISTS has_bodies boolean NOT NULL DEFAULT true;
