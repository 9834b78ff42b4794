-- The products again, told by SQL from the events alone.
WITH moved AS (
    SELECT stream, type, version, context, occurred_at, data,
           coalesce(data ->> 'quantity', data ->> 'difference')::bigint AS units
    FROM {events}
)
SELECT stream AS product_id,
       (array_agg(data ->> 'name' ORDER BY version DESC) FILTER (WHERE data ? 'name'))[1] AS name,
       (array_agg(data ->> 'category' ORDER BY version DESC) FILTER (WHERE data ? 'category'))[1] AS category,
       (array_agg(data -> 'price' ORDER BY version DESC) FILTER (WHERE data ? 'price'))[1] AS price,
       max(data ->> 'currency') AS currency,
       coalesce(bool_or(type = 'ProductDiscontinued'), false) AS discontinued,
       coalesce(sum(units) FILTER (WHERE type IN ('StockReceived', 'StockAdjusted', 'StockReturned')), 0)
           - coalesce(sum(units) FILTER (WHERE type = 'StockShipped'), 0) AS on_hand,
       coalesce(sum(units) FILTER (WHERE type = 'StockReserved'), 0)
           - coalesce(sum(units) FILTER (WHERE type IN ('StockReleased', 'StockShipped')), 0) AS reserved,
       coalesce(sum(units) FILTER (WHERE type IN ('StockReceived', 'StockAdjusted', 'StockReleased', 'StockReturned')), 0)
           - coalesce(sum(units) FILTER (WHERE type = 'StockReserved'), 0) AS available,
       count(*) AS version,
       max(occurred_at) AS updated_at
FROM moved
GROUP BY stream
