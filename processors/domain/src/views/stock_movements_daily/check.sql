-- The movements again, by SQL from the events alone.
SELECT data ->> 'product_id' AS product_id,
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
