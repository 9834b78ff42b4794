-- The analytics again, by SQL from the events alone.
SELECT data ->> 'customer_id' AS customer_id,
       stream AS account_id,
       data ->> 'currency' AS currency,
       ((data ->> 'booked_at')::timestamptz AT TIME ZONE 'UTC')::date AS day,
       CASE type
           WHEN 'MoneyDeposited' THEN 'deposit'
           WHEN 'MoneyWithdrawn' THEN 'withdrawal'
           WHEN 'TransferSent' THEN 'transfer_sent'
           WHEN 'TransferReceived' THEN 'transfer_received'
       END AS kind,
       count(*) AS entries,
       coalesce(sum((data ->> 'amount')::bigint) FILTER (WHERE type IN ('MoneyDeposited', 'TransferReceived')), 0)
           AS amount_in,
       coalesce(sum((data ->> 'amount')::bigint) FILTER (WHERE type IN ('MoneyWithdrawn', 'TransferSent')), 0)
           AS amount_out,
       count(*) AS version,
       max(occurred_at) AS updated_at
FROM {events}
WHERE type IN ('MoneyDeposited', 'MoneyWithdrawn', 'TransferSent', 'TransferReceived')
GROUP BY 1, 2, 3, 4, 5
