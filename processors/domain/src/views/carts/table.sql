-- The longer UNIQUE constraint is there for its index: of one customer's carts by time.
CREATE TABLE IF NOT EXISTS {table} (
    cart_id        text        NOT NULL PRIMARY KEY,
    customer_id    text        NOT NULL,
    currency       text        NOT NULL,
    status         text        NOT NULL,
    total          bigint      NOT NULL,
    short          boolean     NOT NULL,
    order_id       text,
    created_at     timestamptz NOT NULL,
    checked_out_at timestamptz,
    lines          jsonb       NOT NULL,
    version        bigint      NOT NULL,
    updated_at     timestamptz NOT NULL,
    UNIQUE (customer_id, created_at, cart_id)
) WITH (fillfactor = 50); -- Room on each page for the next version of its rows.
