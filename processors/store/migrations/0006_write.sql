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

-- What is old enough. Where a table is large, make them before `millrace setup`, CONCURRENTLY: it leaves what is there.
CREATE INDEX IF NOT EXISTS command_decided_at ON command (decided_at);
CREATE INDEX IF NOT EXISTS outbox_sent ON outbox (occurred_at) WHERE version IS NULL;
CREATE INDEX IF NOT EXISTS saga_ended ON saga (started_at) WHERE ended AND has_steps;
CREATE INDEX IF NOT EXISTS effect_ended ON effect (ended_at) WHERE has_bodies AND ended_at IS NOT NULL AND NOT unknown;
