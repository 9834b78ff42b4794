CREATE OR REPLACE VIEW {view} AS
SELECT day_id, product_id, day, received, adjusted, reserved, released, shipped, returned, change, change_days, version,
       updated_at
FROM {table}
WHERE version > 0;

-- How often the average stock of a product was sold in the last 30, 90 and 365 days, today included. A movement counts in the
-- average from its day on; a movement before the period counts in the whole period. NULL for a product without stock.
CREATE OR REPLACE VIEW {schema}.stock_turnover AS
SELECT product_id, days, shipped, round(average_on_hand, 2) AS average_on_hand,
       CASE WHEN average_on_hand > 0 THEN round(shipped / average_on_hand, 4) END AS turnover
FROM (
    SELECT product_id, days,
           least(greatest(coalesce(sum(shipped) FILTER (WHERE day > today - days), 0), -9223372036854775808),
                 9223372036854775807)::bigint AS shipped,
           sum(change::numeric * least(today - day + 1, days)) / days AS average_on_hand
    FROM {view}
    CROSS JOIN (VALUES (30), (90), (365)) AS period (days)
    CROSS JOIN (SELECT (now() AT TIME ZONE 'UTC')::date AS today) AS clock
    WHERE day <= today
    GROUP BY product_id, days
) AS periods;
