CREATE OR REPLACE VIEW {view} AS
SELECT cart_id, customer_id, currency, status, total, short, order_id, created_at, checked_out_at, lines, version, updated_at
FROM {table}
WHERE version > 0;

-- What is available and what is out of sale is advice: the order decides, when it is placed.
CREATE OR REPLACE VIEW {schema}.cart_lines AS
SELECT c.cart_id, c.customer_id, c.status, c.currency,
       line.product_id, line.product_name, line.quantity, line.unit_price, line.amount, line.short,
       p.available, p.discontinued
FROM {view} AS c
CROSS JOIN LATERAL jsonb_to_recordset(c.lines) AS line (
    product_id   text,
    product_name text,
    quantity     bigint,
    unit_price   bigint,
    amount       bigint,
    short        boolean
)
LEFT JOIN {schema}.products AS p USING (product_id);
