-- The payments again, by SQL from the events alone.
WITH asked AS (
    SELECT asked.stream, asked.version, asked.data ->> 'refund_id' AS refund_id,
           (asked.data ->> 'amount')::bigint AS amount,
           coalesce(max(CASE answer.type WHEN 'PaymentRefunded' THEN 'completed' ELSE 'failed' END)
                        FILTER (WHERE answer.type IS NOT NULL), 'open') AS status
    FROM {events} AS asked
    LEFT JOIN {events} AS answer
        ON answer.stream = asked.stream AND answer.type IN ('PaymentRefunded', 'RefundFailed')
       AND answer.data ->> 'refund_id' = asked.data ->> 'refund_id'
    WHERE asked.type = 'RefundRequested'
    GROUP BY 1, 2, 3, 4
), refunding AS (
    SELECT stream, bool_or(status = 'open') AS open,
           jsonb_agg(jsonb_build_object('refund_id', refund_id, 'amount', amount, 'status', status) ORDER BY version)
               AS refunds
    FROM asked GROUP BY 1
), history AS (
    SELECT stream,
           (array_agg(type ORDER BY version DESC))[1] AS last,
           coalesce(sum((data ->> 'amount')::bigint) FILTER (WHERE type = 'PaymentCaptured'), 0) AS captured,
           coalesce(sum((data ->> 'amount')::bigint) FILTER (WHERE type = 'PaymentRefunded'), 0) AS refunded,
           count(*) AS version,
           max(occurred_at) AS updated_at
    FROM {events} GROUP BY 1
)
SELECT history.stream AS order_id,
       requested.data ->> 'subscription_id' AS subscription_id,
       requested.data ->> 'customer_id' AS customer_id,
       requested.data ->> 'currency' AS currency,
       (requested.data ->> 'amount')::bigint AS amount,
       CASE WHEN open THEN 'refunding' ELSE
           CASE last
               WHEN 'PaymentRequested' THEN 'requested'
               WHEN 'PaymentAuthorised' THEN 'authorised'
               WHEN 'CaptureRequested' THEN 'capturing'
               WHEN 'PaymentCaptured' THEN 'captured'
               WHEN 'PaymentDeclined' THEN 'declined'
               WHEN 'PaymentVoided' THEN 'voided'
               WHEN 'PaymentRefunded' THEN 'refunded'
               WHEN 'RefundFailed' THEN 'refund_failed'
           END
       END AS status,
       captured,
       refunded,
       captures.data ->> 'provider_reference' AS provider_reference,
       declined.data ->> 'code' AS decline_code,
       declined.data ->> 'reason' AS decline_reason,
       requested.occurred_at AS requested_at,
       captures.occurred_at AS captured_at,
       coalesce(refunds, '[]') AS refunds,
       history.version,
       updated_at
FROM history
JOIN {events} AS requested ON requested.stream = history.stream AND requested.type = 'PaymentRequested'
LEFT JOIN {events} AS captures ON captures.stream = history.stream AND captures.type = 'PaymentCaptured'
LEFT JOIN {events} AS declined ON declined.stream = history.stream AND declined.type = 'PaymentDeclined'
LEFT JOIN refunding ON refunding.stream = history.stream
