-- The movements again, by SQL from the events alone. Sums that do not fit wrap as the fold's do, and no figure is an error.
WITH moved AS (
    SELECT stream AS product_id,
           (occurred_at AT TIME ZONE 'UTC')::date AS day,
           coalesce(sum((data ->> 'quantity')::bigint) FILTER (WHERE type = 'StockReceived'), 0) AS received,
           coalesce(sum((data ->> 'difference')::bigint) FILTER (WHERE type = 'StockAdjusted'), 0) AS adjusted,
           coalesce(sum((data ->> 'quantity')::bigint) FILTER (WHERE type = 'StockReserved'), 0) AS reserved,
           coalesce(sum((data ->> 'quantity')::bigint) FILTER (WHERE type = 'StockReleased'), 0) AS released,
           coalesce(sum((data ->> 'quantity')::bigint) FILTER (WHERE type = 'StockShipped'), 0) AS shipped,
           coalesce(sum((data ->> 'quantity')::bigint) FILTER (WHERE type = 'StockReturned'), 0) AS returned,
           count(*) AS version,
           max(occurred_at) AS updated_at
    FROM {events}
    WHERE type IN ('StockReceived', 'StockAdjusted', 'StockReserved', 'StockReleased', 'StockShipped', 'StockReturned')
    GROUP BY 1, 2
)
SELECT CASE WHEN octet_length(product_id) <= 480 THEN product_id || '-'
            ELSE encode(sha256(convert_to(product_id, 'UTF8')), 'hex') || '/' END || to_char(day, 'YYYY-MM-DD') AS day_id,
       product_id, day, kept[1] AS received, kept[2] AS adjusted, kept[3] AS reserved, kept[4] AS released,
       kept[5] AS shipped, kept[6] AS returned, kept[7] AS change,
       least(greatest(kept[7] * (day - date '1970-01-01'), -9223372036854775808), 9223372036854775807) AS change_days,
       version, updated_at
FROM moved
CROSS JOIN LATERAL (
    SELECT array_agg(mod(mod(units + 9223372036854775808, 18446744073709551616) + 18446744073709551616, 18446744073709551616)
                         - 9223372036854775808 ORDER BY place) AS kept
    FROM unnest(ARRAY[received, adjusted, reserved, released, shipped, returned, received + adjusted + returned - shipped])
        WITH ORDINALITY AS summed (units, place)
) AS wrapped
