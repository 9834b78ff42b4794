CREATE TABLE IF NOT EXISTS {table} (
    customer_id text        NOT NULL,
    day         date        NOT NULL,
    currency    text        NOT NULL,
    orders      bigint      NOT NULL,
    revenue     bigint      NOT NULL,
    version     bigint      NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (customer_id, day, currency)
);
