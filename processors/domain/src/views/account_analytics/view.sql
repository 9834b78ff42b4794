CREATE OR REPLACE VIEW {view} AS
SELECT customer_id, account_id, currency, day, kind, entries, amount_in, amount_out, version, updated_at
FROM {table}
WHERE version > 0;

-- By ISO week, which begins on Monday.
CREATE OR REPLACE VIEW {schema}.account_analytics_weekly AS
SELECT customer_id, account_id, currency, date_trunc('week', day::timestamp)::date AS week, kind,
       sum(entries) AS entries, sum(amount_in) AS amount_in, sum(amount_out) AS amount_out
FROM {view}
GROUP BY 1, 2, 3, 4, 5;

-- By calendar month.
CREATE OR REPLACE VIEW {schema}.account_analytics_monthly AS
SELECT customer_id, account_id, currency, date_trunc('month', day::timestamp)::date AS month, kind,
       sum(entries) AS entries, sum(amount_in) AS amount_in, sum(amount_out) AS amount_out
FROM {view}
GROUP BY 1, 2, 3, 4, 5;

-- Each day with entries, and what came and went in the 30, 90 and 365 days that end with it. The same up to today:
--     SELECT account_id, kind, sum(amount_in), sum(amount_out) FROM millrace.account_analytics
--     WHERE customer_id = 'ALFKI' AND day > (now() AT TIME ZONE 'UTC')::date - 30 GROUP BY 1, 2
CREATE OR REPLACE VIEW {schema}.account_analytics_rolling AS
SELECT customer_id, account_id, currency, day, kind,
       sum(entries) OVER days_30 AS entries_30,
       sum(amount_in) OVER days_30 AS amount_in_30,
       sum(amount_out) OVER days_30 AS amount_out_30,
       sum(entries) OVER days_90 AS entries_90,
       sum(amount_in) OVER days_90 AS amount_in_90,
       sum(amount_out) OVER days_90 AS amount_out_90,
       sum(entries) OVER days_365 AS entries_365,
       sum(amount_in) OVER days_365 AS amount_in_365,
       sum(amount_out) OVER days_365 AS amount_out_365
FROM {view}
WINDOW account AS (PARTITION BY customer_id, account_id, currency, kind ORDER BY day),
       days_30 AS (account RANGE BETWEEN INTERVAL '29 days' PRECEDING AND CURRENT ROW),
       days_90 AS (account RANGE BETWEEN INTERVAL '89 days' PRECEDING AND CURRENT ROW),
       days_365 AS (account RANGE BETWEEN INTERVAL '364 days' PRECEDING AND CURRENT ROW);
