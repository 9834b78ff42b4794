-- The longer UNIQUE constraint is there for its index: of one customer's payments by time.
CREATE TABLE IF NOT EXISTS {table} (
    order_id           text        NOT NULL PRIMARY KEY,
    subscription_id    text,
    customer_id        text        NOT NULL,
    currency           text        NOT NULL,
    amount             bigint      NOT NULL,
    status             text        NOT NULL,
    captured           bigint      NOT NULL,
    refunded           bigint      NOT NULL,
    provider_reference text,
    decline_code       text,
    decline_reason     text,
    requested_at       timestamptz NOT NULL,
    captured_at        timestamptz,
    refunds            jsonb       NOT NULL,
    version            bigint      NOT NULL,
    updated_at         timestamptz NOT NULL,
    UNIQUE (customer_id, requested_at, order_id)
) WITH (fillfactor = 50); -- Room on each page for the next version of its rows.
