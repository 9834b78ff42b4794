-- One row for each stream: its version and the state that its events fold to.
CREATE TABLE IF NOT EXISTS stream (
    context       text   NOT NULL,
    id            text   NOT NULL,
    version       bigint NOT NULL,
    state_version int    NOT NULL,
    state         json,
    PRIMARY KEY (context, id)
) WITH (fillfactor = 70);

-- The event store, and what Debezium carries to Kafka. Insert-only. Rejections have no version.
-- aggregatetype is the context, aggregateid the stream: the names that Debezium's event router knows.
CREATE TABLE IF NOT EXISTS outbox (
    id             uuid        NOT NULL,
    aggregatetype  text        NOT NULL,
    aggregateid    text        NOT NULL,
    type           text        NOT NULL,
    payload        bytea       NOT NULL,
    topic          text        NOT NULL,
    version        bigint,
    traceparent    text,
    correlation_id text,
    causation_id   text,
    command_id     text        NOT NULL,
    occurred_at    timestamptz NOT NULL,
    -- A header of every event; Connect's own InsertHeader would turn the text 1.0 into a number.
    specversion    text        NOT NULL DEFAULT '1.0'
);
CREATE UNIQUE INDEX IF NOT EXISTS outbox_stream ON outbox (aggregatetype, aggregateid, version);

-- Every command that was decided or died, once: the deduplication ledger and the receipts.
CREATE TABLE IF NOT EXISTS command (
    id          text        NOT NULL,
    source      text        NOT NULL,
    fingerprint bytea       NOT NULL,
    type        text        NOT NULL,
    context     text        NOT NULL,
    stream      text        NOT NULL,
    topic       text        NOT NULL,
    partition   int         NOT NULL,
    "offset"    bigint      NOT NULL,
    status      text        NOT NULL CHECK (status IN ('completed', 'rejected', 'dead')),
    code        text,
    message     text,
    versions    json,
    produced_at timestamptz,
    received_at timestamptz NOT NULL,
    decided_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (id, source)
);
-- Time ranges over a table in time order: almost free to keep.
CREATE INDEX IF NOT EXISTS command_decided ON command USING brin (decided_at);

-- Debezium writes here now and then, so that an idle slot lets go of old WAL.
CREATE TABLE IF NOT EXISTS heartbeat (
    id      int PRIMARY KEY CHECK (id = 1),
    beat_at timestamptz NOT NULL
);
