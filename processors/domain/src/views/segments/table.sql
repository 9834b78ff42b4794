CREATE TABLE IF NOT EXISTS {table} (
    segment_id text        NOT NULL PRIMARY KEY,
    name       text        NOT NULL,
    rules      text        NOT NULL,
    defined_at timestamptz NOT NULL,
    version    bigint      NOT NULL,
    updated_at timestamptz NOT NULL
);
