-- What revenue is made of, for what is not in one of its sums:
--     SELECT product_id, currency, sum(revenue) FROM millrace.sold_lines WHERE NOT cancelled GROUP BY 1, 2
CREATE OR REPLACE VIEW {view} AS
SELECT line_id, order_id, customer_id, country, placed_at, category, product_id, currency, units, revenue, cancelled,
       version, updated_at
FROM {table}
WHERE version > 0;
