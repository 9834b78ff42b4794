CREATE OR REPLACE VIEW {view} AS
SELECT order_id, customer_id, customer_name, customer_country, status, currency, total, placed_at, accepted_at,
       fulfilment, settled_at, shipped_at, carrier, tracking_number, delivered_at, ship_to, cancel_reason, payment_status,
       captured, refunding, refunded, lines, version, updated_at
FROM {table}
WHERE version > 0;

-- The lines of all orders:
--     SELECT product_name, quantity, amount FROM millrace.order_lines WHERE order_id = '10248'
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

-- Settled orders by the UTC day they were settled on, open ones by the day they were accepted on.
CREATE OR REPLACE VIEW {schema}.fulfilment_daily AS
WITH accepted AS (
    SELECT (coalesce(settled_at, accepted_at) AT TIME ZONE 'UTC')::date AS day, fulfilment AS outcome, currency, total,
           extract(epoch FROM settled_at - accepted_at)::double precision AS seconds
    FROM {view}
    WHERE accepted_at IS NOT NULL
), by_currency AS (
    SELECT day, outcome, currency, sum(total) AS amount FROM accepted GROUP BY 1, 2, 3
), worth AS (
    SELECT day, outcome,
           jsonb_agg(jsonb_build_object('currency', currency, 'amount', amount) ORDER BY currency COLLATE "C") AS total
    FROM by_currency GROUP BY 1, 2
), counted AS (
    SELECT day, outcome, count(*) AS orders, round(avg(seconds)::numeric, 3) AS seconds_avg,
           round((percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds))::numeric, 3) AS seconds_p50,
           round((percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds))::numeric, 3) AS seconds_p95,
           round(max(seconds)::numeric, 3) AS seconds_max
    FROM accepted GROUP BY 1, 2
)
SELECT day, outcome, orders, total, seconds_avg, seconds_p50, seconds_p95, seconds_max
FROM counted JOIN worth USING (day, outcome);
