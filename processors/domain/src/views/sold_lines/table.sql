CREATE TABLE IF NOT EXISTS {table} (
    line_id     text        NOT NULL PRIMARY KEY,
    order_id    text        NOT NULL,
    customer_id text        NOT NULL,
    country     text        NOT NULL,
    placed_at   timestamptz NOT NULL,
    category    text        NOT NULL,
    product_id  text        NOT NULL,
    currency    text        NOT NULL,
    units       bigint      NOT NULL,
    revenue     bigint      NOT NULL,
    cancelled   boolean     NOT NULL,
    version     bigint      NOT NULL,
    updated_at  timestamptz NOT NULL
);
