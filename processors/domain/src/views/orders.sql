-- The order_id is unique already. The two longer UNIQUE constraints are there for their indexes: of one customer's
-- orders by time, and of all orders by time. Unlike CREATE INDEX they need no name of their own for each generation.
CREATE TABLE IF NOT EXISTS {table} (
    order_id         text        NOT NULL PRIMARY KEY,
    customer_id      text        NOT NULL,
    customer_name    text        NOT NULL,
    customer_country text,
    status           text        NOT NULL,
    currency         text        NOT NULL,
    total            bigint      NOT NULL,
    placed_at        timestamptz NOT NULL,
    shipped_at       timestamptz,
    cancel_reason    text,
    lines            jsonb       NOT NULL,
    version          bigint      NOT NULL,
    updated_at       timestamptz NOT NULL,
    UNIQUE (customer_id, placed_at, order_id),
    UNIQUE (placed_at, order_id)
) WITH (fillfactor = 50); -- Room on each page for the next version of its rows.
