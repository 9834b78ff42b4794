-- The orders again, told by SQL from the events alone.
SELECT placed.stream AS order_id,
       placed.data ->> 'customer_id' AS customer_id,
       placed.data ->> 'customer_name' AS customer_name,
       placed.data ->> 'customer_country' AS customer_country,
       CASE history.last
           WHEN 'OrderPlaced' THEN 'placed'
           WHEN 'OrderConfirmed' THEN 'confirmed'
           WHEN 'OrderShipped' THEN 'shipped'
           WHEN 'OrderCancelled' THEN 'cancelled'
       END AS status,
       placed.data ->> 'currency' AS currency,
       (placed.data ->> 'total')::bigint AS total,
       (placed.data ->> 'placed_at')::timestamptz AS placed_at,
       history.shipped_at::timestamptz AS shipped_at,
       history.cancel_reason,
       placed.data -> 'lines' AS lines,
       history.version,
       history.updated_at
FROM {events} AS placed
JOIN (
    SELECT stream,
           (array_agg(type ORDER BY version DESC))[1] AS last,
           max(data ->> 'shipped_at') AS shipped_at,
           max(data ->> 'reason') FILTER (WHERE type = 'OrderCancelled') AS cancel_reason,
           count(*) AS version,
           max(occurred_at) AS updated_at
    FROM {events}
    GROUP BY stream
) AS history USING (stream)
WHERE placed.type = 'OrderPlaced'
