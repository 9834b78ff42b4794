-- The movements again, by SQL from the events alone.
WITH moved AS (
    SELECT stream AS product_id,
           (occurred_at AT TIME ZONE 'UTC')::date AS day,
           coalesce(sum((data ->> 'quantity')::bigint) FILTER (WHERE type = 'StockReceived'), 0)::bigint AS received,
           coalesce(sum((data ->> 'difference')::bigint) FILTER (WHERE type = 'StockAdjusted'), 0)::bigint AS adjusted,
           coalesce(sum((data ->> 'quantity')::bigint) FILTER (WHERE type = 'StockReserved'), 0)::bigint AS reserved,
           coalesce(sum((data ->> 'quantity')::bigint) FILTER (WHERE type = 'StockReleased'), 0)::bigint AS released,
           coalesce(sum((data ->> 'quantity')::bigint) FILTER (WHERE type = 'StockShipped'), 0)::bigint AS shipped,
           coalesce(sum((data ->> 'quantity')::bigint) FILTER (WHERE type = 'StockReturned'), 0)::bigint AS returned,
           count(*) AS version,
           max(occurred_at) AS updated_at
    FROM {events}
    WHERE type IN ('StockReceived', 'StockAdjusted', 'StockReserved', 'StockReleased', 'StockShipped', 'StockReturned')
    GROUP BY 1, 2
)
SELECT CASE WHEN octet_length(product_id) <= 480 THEN product_id || '-'
            ELSE encode(sha256(convert_to(product_id, 'UTF8')), 'hex') || '/' END || to_char(day, 'YYYY-MM-DD') AS day_id,
       product_id, day, received, adjusted, reserved, released, shipped, returned,
       received + adjusted + returned - shipped AS change,
       (received + adjusted + returned - shipped) * (day - date '1970-01-01') AS change_days,
       version, updated_at
FROM moved
