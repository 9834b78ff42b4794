-- One row for each stream: its version and the state that its events fold to.
CREATE TABLE IF NOT EXISTS stream (
    context       text   NOT NULL,
    id            text   NOT NULL,
    version       bigint NOT NULL,
    state_version int    NOT NULL,
    state         json,
    PRIMARY KEY (context, id)
) WITH (fillfactor = 45); -- Room on each page for the next version of all its rows: a batch may change them all.

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
-- What was sent in our own name: a command that claims to be ours is looked up by its id.
CREATE INDEX IF NOT EXISTS outbox_unversioned ON outbox (id) WHERE version IS NULL;

-- Rows of the outbox that the connector could not carry: their topics have a record without value in their place.
CREATE TABLE IF NOT EXISTS outbox_skipped (
    id         uuid        PRIMARY KEY,
    skipped_at timestamptz NOT NULL DEFAULT now()
);

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
-- How often it was tried until then. An older instance gets the column.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'command'::regclass AND attname = 'attempts') THEN
        ALTER TABLE command ADD COLUMN attempts int NOT NULL DEFAULT 1;
    END IF;
END $$;
-- Time ranges over a table in time order: almost free to keep.
CREATE INDEX IF NOT EXISTS command_decided ON command USING brin (decided_at);

-- Debezium writes here now and then, so that an idle slot lets go of old WAL.
CREATE TABLE IF NOT EXISTS heartbeat (
    id      int PRIMARY KEY CHECK (id = 1),
    beat_at timestamptz NOT NULL
);

-- One row for each instance of a saga: where it stands. Instances that have come to their end stay.
CREATE TABLE IF NOT EXISTS saga (
    saga           text        NOT NULL,
    instance       text        NOT NULL,
    -- Steps taken.
    version        bigint      NOT NULL,
    state_version  int         NOT NULL,
    state          json        NOT NULL,
    standing       text        NOT NULL,
    ended          boolean     NOT NULL,
    -- Commands whose outcome it waits for, id and type; and how many of each type it has sent.
    awaiting       json        NOT NULL,
    sent           json        NOT NULL,
    -- A place in the WAL that is not before the commit of its last commands: Debezium has carried them once it is past
    -- that. Looked up when a timer is due soon; null until then.
    sent_at        pg_lsn,
    correlation_id text,
    traceparent    text,
    started_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (saga, instance)
) WITH (fillfactor = 50);
CREATE INDEX IF NOT EXISTS saga_running ON saga (saga, started_at) WHERE NOT ended;

-- What each instance has heard, in order, and the commands that followed. Insert-only: a second copy finds the first.
CREATE TABLE IF NOT EXISTS saga_step (
    saga     text        NOT NULL,
    instance text        NOT NULL,
    -- The id of the event, rejection or timer.
    input    text        NOT NULL,
    number   bigint      NOT NULL,
    heard    text        NOT NULL,
    standing text        NOT NULL,
    sent     json        NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (saga, instance, input)
);

-- Timers that are set. Each setting has an id of its own.
CREATE TABLE IF NOT EXISTS saga_timer (
    saga        text        NOT NULL,
    instance    text        NOT NULL,
    name        text        NOT NULL,
    id          uuid        NOT NULL DEFAULT gen_random_uuid(),
    set_at      timestamptz NOT NULL DEFAULT now(),
    due_at      timestamptz NOT NULL,
    -- Due at a time of the calendar, not after a while: until then its instance is at rest.
    by_calendar boolean     NOT NULL DEFAULT false,
    -- Tries that failed, and why the last did; after the last try an operator must look at it.
    attempts    int         NOT NULL DEFAULT 0,
    error       text,
    PRIMARY KEY (saga, instance, name)
);
CREATE INDEX IF NOT EXISTS saga_timer_due ON saga_timer (saga, due_at);
CREATE UNIQUE INDEX IF NOT EXISTS saga_timer_id ON saga_timer (saga, id);

-- Instances that are to move on by themselves: neither at their end nor at rest until a later time of the calendar.
CREATE OR REPLACE VIEW saga_under_way AS
SELECT saga, instance, standing, started_at
FROM saga AS s
WHERE NOT ended AND NOT (awaiting::text = '{}' AND EXISTS (
    SELECT FROM saga_timer AS t
    WHERE t.saga = s.saga AND t.instance = s.instance AND t.by_calendar AND t.due_at > now() + interval '1 minute'));

-- Calls to the outside world, each asked for by an event: written before the call is made, and never made anew.
CREATE TABLE IF NOT EXISTS effect (
    effect          text        NOT NULL,
    -- What the outside knows the call by, the same at every try; told by the effect and the event.
    key             uuid        NOT NULL,
    -- The event.
    context         text        NOT NULL,
    stream          text        NOT NULL,
    version         bigint      NOT NULL,
    event_id        text        NOT NULL,
    correlation_id  text,
    traceparent     text,
    request         json        NOT NULL,
    status          text        NOT NULL DEFAULT 'waiting'
                                CHECK (status IN ('waiting', 'calling', 'done', 'withdrawn', 'gave_up')),
    -- Leases taken; the last one's number is the lease.
    attempts        int         NOT NULL DEFAULT 0,
    -- When its turn comes; while it is called, when the lease ends.
    due_at          timestamptz NOT NULL DEFAULT now(),
    -- A call was made, and nobody knows what came of it.
    unknown         boolean     NOT NULL DEFAULT false,
    answer          json,
    last_error      text,
    first_called_at timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    ended_at        timestamptz,
    PRIMARY KEY (effect, key)
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS effect_due ON effect (effect, due_at) WHERE status IN ('waiting', 'calling');
CREATE INDEX IF NOT EXISTS effect_stream ON effect (effect, context, stream) WHERE status = 'waiting';
