CREATE OR REPLACE VIEW {view} AS
SELECT day, country, category, product_id, currency, lines, units, revenue, version, updated_at
FROM {table}
WHERE version > 0;

-- A share is the part of the month's revenue in the same currency, NULL where that is 0.
CREATE OR REPLACE VIEW {schema}.revenue_by_month AS
SELECT month, category, currency,
       sum(lines)::bigint AS lines, sum(units)::bigint AS units, sum(revenue)::bigint AS revenue,
       round(sum(revenue) / nullif(sum(sum(revenue)) OVER (PARTITION BY month, currency), 0), 4) AS share
FROM {view}
CROSS JOIN LATERAL (SELECT date_trunc('month', day::timestamp)::date AS month) AS period
GROUP BY month, category, currency;

-- A share is the part of the year's revenue in the same currency, NULL where that is 0.
CREATE OR REPLACE VIEW {schema}.revenue_by_country AS
SELECT year, country, currency,
       sum(lines)::bigint AS lines, sum(units)::bigint AS units, sum(revenue)::bigint AS revenue,
       round(sum(revenue) / nullif(sum(sum(revenue)) OVER (PARTITION BY year, currency), 0), 4) AS share
FROM {view}
CROSS JOIN LATERAL (SELECT extract(year FROM day)::integer AS year) AS period
GROUP BY year, country, currency;

-- A week begins on Monday; one that lies in two months has a row in each, so that months and years add up. With
-- the products' names of today:
--     SELECT r.year, p.name, r.currency, sum(r.revenue) AS revenue
--     FROM millrace.revenue_by_product AS r JOIN millrace.products AS p USING (product_id)
--     GROUP BY 1, 2, 3 ORDER BY 1, 4 DESC
CREATE OR REPLACE VIEW {schema}.revenue_by_product AS
SELECT year, month, week, product_id, currency,
       sum(lines)::bigint AS lines, sum(units)::bigint AS units, sum(revenue)::bigint AS revenue
FROM {view}
CROSS JOIN LATERAL (
    SELECT extract(year FROM day)::integer AS year,
           date_trunc('month', day::timestamp)::date AS month,
           date_trunc('week', day::timestamp)::date AS week
) AS period
GROUP BY year, month, week, product_id, currency;
