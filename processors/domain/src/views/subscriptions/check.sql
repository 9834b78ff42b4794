-- The subscriptions again, by SQL from the events alone.
WITH history AS (
    SELECT stream,
           (array_agg(type ORDER BY version DESC))[1] AS last,
           (array_agg(data ORDER BY version DESC))[1] AS fields,
           (array_agg(data ORDER BY version DESC) FILTER (WHERE type = 'SubscriptionRenewed'))[1] AS paid,
           count(*) FILTER (WHERE type = 'SubscriptionRenewed') AS periods_paid,
           count(*) AS version,
           max(occurred_at) AS updated_at
    FROM {events} GROUP BY 1
)
SELECT stream AS subscription_id,
       started.data ->> 'customer_id' AS customer_id,
       started.data ->> 'plan' AS plan,
       (started.data ->> 'amount')::bigint AS amount,
       started.data ->> 'currency' AS currency,
       started.data ->> 'period' AS period,
       CASE last
           WHEN 'SubscriptionPaused' THEN 'paused'
           WHEN 'SubscriptionLapsed' THEN 'lapsed'
           WHEN 'SubscriptionCancelled' THEN 'cancelled'
           ELSE 'active'
       END AS status,
       CASE WHEN last IN ('SubscriptionLapsed', 'SubscriptionCancelled') THEN fields ->> 'reason' END AS reason,
       (started.data ->> 'started_at')::timestamptz AS started_at,
       periods_paid,
       (paid ->> 'period_number')::bigint AS period_number,
       (paid ->> 'period_from')::timestamptz AS period_from,
       (paid ->> 'period_until')::timestamptz AS period_until,
       (CASE
           WHEN last = 'SubscriptionRenewed' THEN fields ->> 'period_until'
           WHEN last IN ('SubscriptionStarted', 'SubscriptionResumed') THEN fields ->> 'period_from'
       END)::timestamptz AS next_renewal_at,
       history.version,
       updated_at
FROM {events} AS started
JOIN history USING (stream)
WHERE started.type = 'SubscriptionStarted'
