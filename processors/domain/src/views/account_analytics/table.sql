CREATE TABLE IF NOT EXISTS {table} (
    customer_id text        NOT NULL,
    account_id  text        NOT NULL,
    currency    text        NOT NULL,
    day         date        NOT NULL,
    kind        text        NOT NULL,
    entries     bigint      NOT NULL,
    amount_in   bigint      NOT NULL,
    amount_out  bigint      NOT NULL,
    version     bigint      NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (customer_id, account_id, currency, day, kind)
);
