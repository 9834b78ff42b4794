CREATE TABLE IF NOT EXISTS {table} (
    day_id      text        NOT NULL PRIMARY KEY,
    product_id  text        NOT NULL,
    day         date        NOT NULL,
    received    bigint      NOT NULL,
    adjusted    bigint      NOT NULL,
    reserved    bigint      NOT NULL,
    released    bigint      NOT NULL,
    shipped     bigint      NOT NULL,
    returned    bigint      NOT NULL,
    change      bigint      NOT NULL,
    change_days bigint      NOT NULL,
    version     bigint      NOT NULL,
    updated_at  timestamptz NOT NULL,
    UNIQUE (product_id, day)
);
