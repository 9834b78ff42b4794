CREATE OR REPLACE VIEW {view} AS
SELECT customer_id, category, product_id, currency, lines, units, revenue, version, updated_at
FROM {table}
WHERE version > 0;

-- The categories that a customer buys, the favourite first:
--     SELECT category, units FROM millrace.customer_categories WHERE customer_id = 'ALFKI' ORDER BY rank
CREATE OR REPLACE VIEW {schema}.customer_categories AS
SELECT customer_id, category, sum(lines)::bigint AS lines, sum(units)::bigint AS units,
       row_number() OVER (PARTITION BY customer_id
                          ORDER BY sum(units) DESC, sum(lines) DESC, category COLLATE "C") AS rank
FROM {view}
GROUP BY customer_id, category
HAVING sum(units) > 0;

-- The products that a customer buys, the favourite first:
--     SELECT product_id, units FROM millrace.customer_products WHERE customer_id = 'ALFKI' ORDER BY rank
CREATE OR REPLACE VIEW {schema}.customer_products AS
SELECT customer_id, product_id, sum(lines)::bigint AS lines, sum(units)::bigint AS units,
       row_number() OVER (PARTITION BY customer_id
                          ORDER BY sum(units) DESC, sum(lines) DESC, product_id COLLATE "C") AS rank
FROM {view}
GROUP BY customer_id, product_id
HAVING sum(units) > 0;
