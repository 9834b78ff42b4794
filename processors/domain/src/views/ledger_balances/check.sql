-- The ledger again, by SQL from the events alone.
SELECT ledger_account,
       data ->> 'currency' AS currency,
       sum(debit) AS debit,
       sum(credit) AS credit,
       count(DISTINCT (stream, version)) AS version,
       max(occurred_at) AS updated_at
FROM {events}
CROSS JOIN LATERAL (SELECT (data ->> 'amount')::bigint AS amount) AS moved
CROSS JOIN LATERAL (VALUES
    (CASE type WHEN 'MoneyDeposited' THEN 'cash' WHEN 'TransferReceived' THEN 'transit' ELSE stream END, amount, 0),
    (CASE type WHEN 'MoneyWithdrawn' THEN 'cash' WHEN 'TransferSent' THEN 'transit' ELSE stream END, 0, amount)
) AS posting (ledger_account, debit, credit)
WHERE type IN ('MoneyDeposited', 'MoneyWithdrawn', 'TransferSent', 'TransferReceived')
GROUP BY 1, 2
