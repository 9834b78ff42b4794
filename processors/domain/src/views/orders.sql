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

CREATE OR REPLACE VIEW {view} AS
SELECT order_id, customer_id, customer_name, customer_country, status, currency, total, placed_at, shipped_at,
       cancel_reason, lines, version, updated_at
FROM {table}
WHERE version > 0;

CREATE OR REPLACE VIEW {schema}.order_lines AS
SELECT o.order_id, o.customer_id, o.placed_at, o.status, o.currency,
       line.product_id, line.product_name, line.category, line.quantity, line.unit_price, line.discount_bp, line.amount
FROM {view} AS o
CROSS JOIN LATERAL jsonb_to_recordset(o.lines) AS line (
    product_id   text,
    product_name text,
    category     text,
    quantity     bigint,
    unit_price   bigint,
    discount_bp  integer,
    amount       bigint
);
