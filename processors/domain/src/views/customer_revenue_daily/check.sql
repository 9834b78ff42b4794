-- What customers bring, again by SQL from the events alone.
SELECT data ->> 'customer_id' AS customer_id,
       ((data ->> 'placed_at')::timestamptz AT TIME ZONE 'UTC')::date AS day,
       data ->> 'currency' AS currency,
       sum(sign) AS orders,
       sum(sign * (data ->> 'total')::bigint) AS revenue,
       count(*) AS version,
       max(occurred_at) AS updated_at
FROM {events}
CROSS JOIN LATERAL (SELECT CASE type WHEN 'OrderConfirmed' THEN 1 ELSE -1 END AS sign) AS side
WHERE type = 'OrderConfirmed' AND jsonb_array_length(data -> 'lines') > 0
   OR type = 'OrderCancelled' AND (data ->> 'confirmed')::boolean
GROUP BY 1, 2, 3
