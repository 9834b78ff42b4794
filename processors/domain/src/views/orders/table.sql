-- The order_id is unique already. The two longer UNIQUE constraints are there for their indexes: of one customer's
-- orders by time, and of all orders by time. Unlike CREATE INDEX they need no name of their own for each generation.
-- What only the orders' context says may be missing while only the payment is known.
CREATE TABLE IF NOT EXISTS {table} (
    order_id         text        NOT NULL PRIMARY KEY,
    customer_id      text,
    customer_name    text,
    customer_country text,
    status           text,
    currency         text,
    total            bigint,
    placed_at        timestamptz,
    accepted_at      timestamptz,
    fulfilment       text,
    settled_at       timestamptz,
    shipped_at       timestamptz,
    carrier          text,
    tracking_number  text,
    delivered_at     timestamptz,
    ship_to          jsonb,
    cancel_reason    text,
    payment_status   text        NOT NULL DEFAULT 'none',
    captured         bigint      NOT NULL DEFAULT 0,
    refunding        bigint      NOT NULL DEFAULT 0,
    refunded         bigint      NOT NULL DEFAULT 0,
    lines            jsonb       NOT NULL DEFAULT '[]',
    version          bigint      NOT NULL,
    updated_at       timestamptz NOT NULL,
    UNIQUE (customer_id, placed_at, order_id),
    UNIQUE (placed_at, order_id)
) WITH (fillfactor = 50); -- Room on each page for the next version of its rows.
