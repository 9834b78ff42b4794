-- The histories again, by SQL from the events alone.
SELECT context || '/' || version || '/' || stream AS entry_id,
       data ->> 'customer_id' AS customer_id,
       coalesce((CASE type
           WHEN 'OrderPlaced' THEN data ->> 'placed_at'
           WHEN 'OrderShipped' THEN data ->> 'shipped_at'
           WHEN 'OrderDelivered' THEN data ->> 'delivered_at'
           WHEN 'SubscriptionStarted' THEN data ->> 'started_at'
           WHEN 'SubscriptionResumed' THEN data ->> 'resumed_at'
       END)::timestamptz, occurred_at) AS at,
       lower(regexp_replace(type, '([a-z])([A-Z])', '\1_\2', 'g')) AS kind,
       stream AS reference_id,
       coalesce(data ->> 'total', data ->> 'amount')::bigint AS amount,
       data ->> 'currency' AS currency,
       jsonb_strip_nulls(jsonb_build_object(
           'lines', CASE type WHEN 'OrderPlaced' THEN data -> 'lines' END,
           'carrier', data -> 'carrier',
           'tracking_number', data -> 'tracking_number',
           'code', data -> 'code',
           'reason', data -> 'reason',
           'refund_id', data -> 'refund_id',
           'provider_reference', CASE WHEN type IN ('PaymentAuthorised', 'PaymentCaptured', 'PaymentRefunded') THEN data -> 'provider_reference' END,
           'plan', data -> 'plan',
           'period_number', data -> 'period_number',
           'period_from', data -> 'period_from',
           'period_until', data -> 'period_until'
       )) AS detail,
       1::bigint AS version,
       occurred_at AS updated_at
FROM {events}
WHERE data ->> 'customer_id' <> ''
