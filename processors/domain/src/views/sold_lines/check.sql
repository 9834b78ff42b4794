-- The sold lines again, by SQL from the events alone.
SELECT CASE WHEN octet_length(sold.stream) <= 480 THEN sold.stream || '-'
            ELSE encode(sha256(convert_to(sold.stream, 'UTF8')), 'hex') || '/' END || place AS line_id,
       sold.stream AS order_id,
       sold.data ->> 'customer_id' AS customer_id,
       sold.data ->> 'country' AS country,
       (sold.data ->> 'placed_at')::timestamptz AS placed_at,
       line ->> 'category' AS category,
       line ->> 'product_id' AS product_id,
       sold.data ->> 'currency' AS currency,
       (line ->> 'quantity')::bigint AS units,
       (line ->> 'amount')::bigint AS revenue,
       cancelled.stream IS NOT NULL AS cancelled,
       1 + (cancelled.stream IS NOT NULL)::int::bigint AS version,
       coalesce(cancelled.occurred_at, sold.occurred_at) AS updated_at
FROM {events} AS sold
CROSS JOIN LATERAL jsonb_array_elements(sold.data -> 'lines') WITH ORDINALITY AS each (line, place)
LEFT JOIN {events} AS cancelled
    ON cancelled.stream = sold.stream AND cancelled.type = 'OrderCancelled' AND (cancelled.data ->> 'confirmed')::boolean
WHERE sold.type = 'OrderConfirmed'
