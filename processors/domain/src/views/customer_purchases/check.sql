-- What customers buy, again by SQL from the events alone.
SELECT data ->> 'customer_id' AS customer_id,
       line ->> 'category' AS category,
       line ->> 'product_id' AS product_id,
       data ->> 'currency' AS currency,
       sum(sign) AS lines,
       sum(sign * (line ->> 'quantity')::bigint) AS units,
       sum(sign * (line ->> 'amount')::bigint) AS revenue,
       count(DISTINCT (stream, version)) AS version,
       max(occurred_at) AS updated_at
FROM {events}
CROSS JOIN LATERAL (SELECT CASE type WHEN 'OrderConfirmed' THEN 1 ELSE -1 END AS sign) AS side
CROSS JOIN LATERAL jsonb_array_elements(data -> 'lines') AS line
WHERE type = 'OrderConfirmed' OR type = 'OrderCancelled' AND (data ->> 'confirmed')::boolean
GROUP BY 1, 2, 3, 4
