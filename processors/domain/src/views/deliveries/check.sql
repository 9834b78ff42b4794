-- The deliveries again, by SQL from the events alone.
WITH queued AS (
    SELECT stream || '/' || (recipient ->> 'number') AS job_id,
           data ->> 'campaign_id' AS campaign_id,
           recipient ->> 'customer_id' AS customer_id,
           data ->> 'channel' AS channel,
           recipient ->> 'address' AS address,
           occurred_at AS queued_at
    FROM {events}
    CROSS JOIN LATERAL jsonb_array_elements(data -> 'recipients') AS recipient
    WHERE type = 'DeliveriesQueued'
), changed AS (
    SELECT stream || '/' || (change ->> 'number') AS job_id,
           version, place, occurred_at,
           change ->> 'to' AS status,
           (change ->> 'attempt')::int AS attempt,
           change ->> 'reason' AS reason
    FROM {events}
    CROSS JOIN LATERAL jsonb_array_elements(data -> 'changes') WITH ORDINALITY AS changes (change, place)
    WHERE type = 'DeliveriesChanged'
), history AS (
    SELECT job_id,
           (array_agg(status ORDER BY version DESC, place DESC))[1] AS status,
           (array_agg(attempt ORDER BY version DESC, place DESC))[1] AS attempt,
           (array_agg(reason ORDER BY version DESC, place DESC) FILTER (WHERE reason IS NOT NULL))[1] AS reason,
           max(occurred_at) FILTER (WHERE status = 'sent') AS sent_at,
           max(occurred_at) FILTER (WHERE status = 'delivered') AS delivered_at,
           max(occurred_at) FILTER (WHERE status IN ('failed', 'dead')) AS failed_at,
           count(DISTINCT version) AS changes,
           max(occurred_at) AS changed_at
    FROM changed GROUP BY 1
)
SELECT job_id, campaign_id, customer_id, channel, address,
       coalesce(status, 'queued') AS status,
       coalesce(attempt, 1) AS attempt,
       reason, queued_at, sent_at, delivered_at, failed_at,
       1 + coalesce(changes, 0) AS version,
       greatest(queued_at, changed_at) AS updated_at
FROM queued
LEFT JOIN history USING (job_id)
