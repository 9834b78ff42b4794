-- How far each stream was folded into a view: the version is the ticket.
CREATE TABLE IF NOT EXISTS progress (
    grp        text   NOT NULL,
    generation int    NOT NULL,
    context    text   NOT NULL,
    stream     text   NOT NULL,
    version    bigint NOT NULL,
    PRIMARY KEY (grp, generation, context, stream)
) WITH (fillfactor = 70);

-- Events that wait for an earlier version of their stream.
CREATE TABLE IF NOT EXISTS parked (
    grp        text        NOT NULL,
    generation int         NOT NULL,
    context    text        NOT NULL,
    stream     text        NOT NULL,
    version    bigint      NOT NULL,
    topic      text        NOT NULL,
    partition  int         NOT NULL,
    "offset"   bigint      NOT NULL,
    timestamp  bigint,
    key        bytea,
    value      bytea,
    headers    jsonb       NOT NULL,
    parked_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (grp, generation, context, stream, version)
);
