CREATE OR REPLACE VIEW {view} AS
SELECT customer_id, day, currency, orders, revenue, version, updated_at
FROM {table}
WHERE version > 0;

-- Customers by revenue, with a separate ranking for each currency; customers with equal revenue have the same rank. Days with
-- only cancelled orders do not count.
CREATE OR REPLACE VIEW {schema}.top_customers AS
SELECT sums.currency, rank() OVER (PARTITION BY sums.currency ORDER BY sums.revenue DESC) AS rank,
       sums.customer_id, c.name AS customer_name, sums.orders, sums.revenue,
       round(sums.revenue / nullif(sum(sums.revenue) OVER (PARTITION BY sums.currency), 0), 4) AS share,
       sums.first_day, sums.last_day
FROM (
    SELECT currency, customer_id, sum(orders)::bigint AS orders, sum(revenue)::bigint AS revenue,
           min(day) FILTER (WHERE orders > 0) AS first_day, max(day) FILTER (WHERE orders > 0) AS last_day
    FROM {view}
    GROUP BY currency, customer_id
    HAVING sum(orders) > 0
) AS sums
LEFT JOIN {schema}.customers AS c USING (customer_id);
