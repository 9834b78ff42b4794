-- The entries again, by SQL from the events alone: numbers and balances from the amounts, not from what events state.
WITH moved AS (
    SELECT stream, version, type, occurred_at, data,
           (data ->> 'amount')::bigint
               * CASE WHEN type IN ('MoneyDeposited', 'TransferReceived') THEN 1 ELSE -1 END AS signed
    FROM {events}
    WHERE type IN ('MoneyDeposited', 'MoneyWithdrawn', 'TransferSent', 'TransferReceived')
)
SELECT stream || '-' || (data ->> 'entry') AS entry_id,
       stream AS account_id,
       data ->> 'customer_id' AS customer_id,
       row_number() OVER account AS entry,
       (data ->> 'booked_at')::timestamptz AS booked_at,
       CASE type
           WHEN 'MoneyDeposited' THEN 'deposit'
           WHEN 'MoneyWithdrawn' THEN 'withdrawal'
           WHEN 'TransferSent' THEN 'transfer_sent'
           WHEN 'TransferReceived' THEN 'transfer_received'
       END AS kind,
       signed AS amount,
       data ->> 'currency' AS currency,
       sum(signed) OVER account AS balance,
       data ->> 'counterparty' AS counterparty,
       coalesce(data ->> 'transaction_id', data ->> 'transfer_id') AS reference,
       data ->> 'text' AS text,
       1 AS version,
       occurred_at AS updated_at
FROM moved
WINDOW account AS (PARTITION BY stream ORDER BY version)
