-- Where each consumer group stands, in the database whose rows the offset guards.
-- applied: the next offset to apply. published: every row changed below it is in Elasticsearch.
-- held_at: nothing from this offset on is applied before held_until, so that two generations can be compared.
CREATE TABLE IF NOT EXISTS consumer_offset (
    grp        text   NOT NULL,
    generation int    NOT NULL,
    topic      text   NOT NULL,
    partition  int    NOT NULL,
    epoch      bigint NOT NULL,
    applied    bigint NOT NULL,
    published  bigint NOT NULL,
    held_at    bigint,
    held_until timestamptz,
    -- The topic that `applied` belongs to: one that is made anew under the same name has another id.
    topic_id   uuid,
    PRIMARY KEY (grp, generation, topic, partition)
) WITH (fillfactor = 50);
-- An older instance gets the column. Looked for first: the statement would wait for all readers even where it is there.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'consumer_offset'::regclass AND attname = 'topic_id') THEN
        ALTER TABLE consumer_offset ADD COLUMN topic_id uuid;
    END IF;
END $$;

-- Records that ended: the ledger. Their bytes and headers are on the dead letter topic.
CREATE TABLE IF NOT EXISTS dead_letter (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    grp           text        NOT NULL,
    generation    int         NOT NULL,
    topic         text        NOT NULL,
    partition     int         NOT NULL,
    "offset"      bigint      NOT NULL,
    key           bytea,
    record_type   text,
    -- An event's place in its stream; a document's version.
    version       bigint,
    -- Where the event of a log's document is found again.
    stream        text,
    code          text        NOT NULL,
    message       text        NOT NULL,
    attempts      int         NOT NULL,
    -- Where the copy lies on the dead letter topic; a document that Elasticsearch refuses has none.
    copy_partition int,
    copy_offset   bigint,
    status        text        NOT NULL DEFAULT 'dead' CHECK (status IN ('dead', 'redriven', 'discarded')),
    failed_at     timestamptz NOT NULL DEFAULT now()
);
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'dead_letter'::regclass AND attname = 'stream') THEN
        ALTER TABLE dead_letter ADD COLUMN stream text;
    END IF;
END $$;
CREATE INDEX IF NOT EXISTS dead_letter_source ON dead_letter (topic, partition, "offset");

-- Keys whose records wait, and what for: the next try of their head, somebody who redrives or discards it, or a version
-- that is not here. Main and retry workers lock the row before they touch the key.
CREATE TABLE IF NOT EXISTS blocked_key (
    grp        text        NOT NULL,
    generation int         NOT NULL,
    topic      text        NOT NULL,
    key        bytea       NOT NULL,
    status     text        NOT NULL CHECK (status IN ('retrying', 'dead', 'gap')),
    partition  int,
    "offset"   bigint,
    attempts   int         NOT NULL,
    due_at     timestamptz NOT NULL,
    code       text,
    message    text,
    since      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (grp, generation, topic, key)
);
CREATE INDEX IF NOT EXISTS blocked_key_due ON blocked_key (grp, generation, due_at) WHERE status = 'retrying';

-- Heads, and what waits behind them, as it arrived. Where documents go out after the commit a drained record stays
-- until the place that drained it is published.
CREATE TABLE IF NOT EXISTS parked (
    grp               text        NOT NULL,
    generation        int         NOT NULL,
    topic             text        NOT NULL,
    partition         int         NOT NULL,
    "offset"          bigint      NOT NULL,
    key               bytea       NOT NULL,
    -- The record's own key, where it waits under another; one without a key has none.
    record_key        bytea,
    keyless           boolean     NOT NULL DEFAULT false,
    version           bigint,
    timestamp         bigint,
    value             bytea,
    headers           jsonb       NOT NULL,
    parked_at         timestamptz NOT NULL DEFAULT now(),
    drained_topic     text,
    drained_partition int,
    drained_offset    bigint,
    PRIMARY KEY (grp, generation, topic, partition, "offset")
);
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'parked'::regclass AND attname = 'keyless') THEN
        ALTER TABLE parked ADD COLUMN keyless boolean NOT NULL DEFAULT false;
    END IF;
END $$;
-- Who the record is, so that its sender finds it: its identity and its type, as far as it tells them. An older instance
-- gets the columns; what has waited there since before is not found by its id.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'parked'::regclass AND attname = 'record_id') THEN
        ALTER TABLE parked ADD COLUMN record_id text, ADD COLUMN record_source text, ADD COLUMN record_type text;
    END IF;
END $$;
CREATE INDEX IF NOT EXISTS parked_identity ON parked (record_id);
CREATE INDEX IF NOT EXISTS parked_key ON parked (grp, generation, topic, key, version, "offset");
CREATE INDEX IF NOT EXISTS parked_drained ON parked (grp, generation, drained_topic, drained_partition, drained_offset)
    WHERE drained_offset IS NOT NULL;

-- What operators changed by hand, and why.
CREATE TABLE IF NOT EXISTS audit (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT now(),
    who     text        NOT NULL,
    action  text        NOT NULL,
    subject text        NOT NULL,
    why     text        NOT NULL,
    details jsonb       NOT NULL
);
