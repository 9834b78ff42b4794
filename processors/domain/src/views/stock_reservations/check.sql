-- The reservations again, by SQL from the events alone.
WITH moved AS (
    SELECT data ->> 'reservation_id' AS reservation_id, stream AS product_id, version, type, occurred_at,
           (data ->> 'quantity')::bigint AS units,
           max(version) FILTER (WHERE type = 'StockReserved')
               OVER (PARTITION BY data ->> 'reservation_id', stream) AS last_reserved
    FROM {events}
    WHERE type IN ('StockReserved', 'StockReleased', 'StockShipped', 'StockReturned')
), flows AS (
    SELECT reservation_id, product_id,
           coalesce(sum(units) FILTER (WHERE type = 'StockReserved'), 0) AS came,
           coalesce(sum(units) FILTER (WHERE type = 'StockReleased'), 0) AS given_up,
           coalesce(sum(units) FILTER (WHERE type = 'StockReleased' AND version > last_reserved), 0) AS released,
           coalesce(sum(units) FILTER (WHERE type = 'StockShipped'), 0) AS went,
           coalesce(sum(units) FILTER (WHERE type = 'StockReturned'), 0) AS returned
    FROM moved GROUP BY 1, 2
), placed AS (
    SELECT reservation_id, product_id, place, status, quantity
    FROM flows
    CROSS JOIN LATERAL (VALUES (1, 'reserved', came - given_up - went),
                               (2, 'shipped', went - returned),
                               (3, 'returned', returned),
                               (4, 'released', released)) AS places (place, status, quantity)
), summed AS (
    SELECT reservation_id,
           sum(quantity) FILTER (WHERE status = 'reserved') AS reserved,
           sum(quantity) FILTER (WHERE status = 'shipped') AS shipped,
           sum(quantity) FILTER (WHERE status = 'returned') AS returned,
           sum(quantity) FILTER (WHERE status = 'released') AS released,
           jsonb_agg(jsonb_build_object('product_id', product_id, 'quantity', quantity, 'status', status)
                     ORDER BY product_id COLLATE "C", place) FILTER (WHERE quantity <> 0) AS lines
    FROM placed GROUP BY 1
), history AS (
    SELECT reservation_id,
           min(occurred_at) FILTER (WHERE type = 'StockReserved') AS reserved_at,
           max(occurred_at) FILTER (WHERE type IN ('StockReleased', 'StockShipped')) AS settled_at,
           count(*) AS version,
           max(occurred_at) AS updated_at
    FROM moved GROUP BY 1
)
SELECT reservation_id,
       CASE WHEN reserved > 0 THEN 'reserved'
            WHEN shipped > 0 THEN 'shipped'
            WHEN returned > 0 THEN 'returned'
            ELSE 'released'
       END AS status,
       reserved, shipped, returned, released, reserved_at, settled_at,
       coalesce(lines, '[]') AS lines,
       version,
       updated_at
FROM summed
JOIN history USING (reservation_id)
