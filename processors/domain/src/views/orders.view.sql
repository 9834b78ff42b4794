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
