-- The orders again, by SQL from the events alone.
WITH history AS (
    SELECT stream, count(*) AS version, max(occurred_at) AS updated_at FROM {events}
    WHERE data ->> 'subscription_id' IS NULL GROUP BY 1
), life AS (
    SELECT stream,
           (array_agg(type ORDER BY version DESC))[1] AS last,
           bool_or(type = 'OrderCancelled') AS cancelled,
           bool_or(type = 'OrderConfirmed') AS confirmed,
           coalesce(min(occurred_at) FILTER (WHERE type = 'OrderConfirmed'),
                    min(occurred_at) FILTER (WHERE type = 'OrderCancelled')) AS settled_at,
           max(data ->> 'shipped_at') AS shipped_at,
           max(data ->> 'carrier') AS carrier,
           max(data ->> 'tracking_number') AS tracking_number,
           max(data ->> 'delivered_at') AS delivered_at,
           max(data ->> 'reason') FILTER (WHERE type = 'OrderCancelled') AS cancel_reason
    FROM {events} WHERE context = 'orders' GROUP BY 1
), money AS (
    SELECT stream,
           (array_agg(type ORDER BY version DESC))[1] AS last,
           sum(amount) FILTER (WHERE type = 'PaymentCaptured') AS captured,
           sum(amount) FILTER (WHERE type = 'RefundRequested') AS asked,
           sum(amount) FILTER (WHERE type = 'PaymentRefunded') AS refunded,
           sum(amount) FILTER (WHERE type = 'RefundFailed') AS failed
    FROM {events}
    CROSS JOIN LATERAL (SELECT (data ->> 'amount')::bigint AS amount) AS each
    WHERE context = 'payments' AND data ->> 'subscription_id' IS NULL GROUP BY 1
), sums AS (
    SELECT stream, last, coalesce(captured, 0) AS captured, coalesce(refunded, 0) AS refunded,
           coalesce(asked, 0) - coalesce(refunded, 0) - coalesce(failed, 0) AS refunding
    FROM money
)
SELECT stream AS order_id,
       placed.data ->> 'customer_id' AS customer_id,
       placed.data ->> 'customer_name' AS customer_name,
       placed.data ->> 'customer_country' AS customer_country,
       CASE life.last
           WHEN 'OrderPlaced' THEN 'placed'
           WHEN 'OrderConfirmed' THEN 'confirmed'
           WHEN 'OrderShipped' THEN 'shipped'
           WHEN 'OrderDelivered' THEN 'delivered'
           WHEN 'OrderCancelled' THEN 'cancelled'
       END AS status,
       placed.data ->> 'currency' AS currency,
       (placed.data ->> 'total')::bigint AS total,
       (placed.data ->> 'placed_at')::timestamptz AS placed_at,
       placed.occurred_at AS accepted_at,
       CASE WHEN life.cancelled THEN 'cancelled' WHEN life.confirmed THEN 'confirmed' WHEN life.last IS NOT NULL THEN 'open' END
           AS fulfilment,
       life.settled_at,
       life.shipped_at::timestamptz AS shipped_at,
       life.carrier,
       life.tracking_number,
       life.delivered_at::timestamptz AS delivered_at,
       nullif(placed.data -> 'ship_to', 'null') AS ship_to,
       life.cancel_reason,
       CASE WHEN refunding > 0 THEN 'refunding' ELSE
           CASE sums.last
               WHEN 'PaymentRequested' THEN 'requested'
               WHEN 'PaymentAuthorised' THEN 'authorised'
               WHEN 'CaptureRequested' THEN 'capturing'
               WHEN 'PaymentCaptured' THEN 'captured'
               WHEN 'PaymentDeclined' THEN 'declined'
               WHEN 'PaymentVoided' THEN 'voided'
               WHEN 'PaymentRefunded' THEN 'refunded'
               WHEN 'RefundFailed' THEN 'refund_failed'
               ELSE 'none'
           END
       END AS payment_status,
       coalesce(captured, 0) AS captured,
       coalesce(refunding, 0) AS refunding,
       coalesce(refunded, 0) AS refunded,
       coalesce(placed.data -> 'lines', '[]') AS lines,
       history.version,
       history.updated_at
FROM history
LEFT JOIN (SELECT stream, data, occurred_at FROM {events} WHERE type = 'OrderPlaced') AS placed USING (stream)
LEFT JOIN life USING (stream)
LEFT JOIN sums USING (stream)
