CREATE TABLE IF NOT EXISTS {table} (
    customer_id text        NOT NULL,
    category    text        NOT NULL,
    product_id  text        NOT NULL,
    currency    text        NOT NULL,
    lines       bigint      NOT NULL,
    units       bigint      NOT NULL,
    revenue     bigint      NOT NULL,
    version     bigint      NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (customer_id, category, product_id, currency)
);
