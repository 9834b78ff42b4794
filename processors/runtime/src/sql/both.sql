-- Where each consumer group stands, in the database whose rows the offset guards.
-- applied: the next offset to apply. published: every row changed below it is in Elasticsearch.
CREATE TABLE IF NOT EXISTS consumer_offset (
    grp        text   NOT NULL,
    generation int    NOT NULL,
    topic      text   NOT NULL,
    partition  int    NOT NULL,
    epoch      bigint NOT NULL,
    applied    bigint NOT NULL,
    published  bigint NOT NULL,
    PRIMARY KEY (grp, generation, topic, partition)
) WITH (fillfactor = 50);

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
    code          text        NOT NULL,
    message       text        NOT NULL,
    attempts      int         NOT NULL,
    status        text        NOT NULL DEFAULT 'dead' CHECK (status IN ('dead', 'redriven', 'discarded')),
    failed_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS dead_letter_source ON dead_letter (topic, partition, "offset");
