CREATE TABLE IF NOT EXISTS {table} (
    campaign_id text        NOT NULL PRIMARY KEY,
    segment_id  text,
    name        text,
    channel     text,
    status      text        NOT NULL DEFAULT 'draft',
    failure     text,
    audience    bigint      NOT NULL DEFAULT 0,
    pending     bigint      NOT NULL DEFAULT 0,
    sent        bigint      NOT NULL DEFAULT 0,
    delivered   bigint      NOT NULL DEFAULT 0,
    failed      bigint      NOT NULL DEFAULT 0,
    created_at  timestamptz,
    launched_at timestamptz,
    version     bigint      NOT NULL,
    updated_at  timestamptz NOT NULL
) WITH (fillfactor = 50); -- Room on each page for the next version of its rows.
