-- The accounts again, by SQL from the events alone. The balance is what was credited to the account less what was
-- debited, never what an event states.
WITH posted AS (
    SELECT stream, version, type, occurred_at, (data ->> 'amount')::bigint AS amount,
           (data ->> 'booked_at')::timestamptz AS booked_at
    FROM {events}
), history AS (
    SELECT stream,
           coalesce(sum(amount) FILTER (WHERE type IN ('MoneyDeposited', 'TransferReceived')), 0) AS credit,
           coalesce(sum(amount) FILTER (WHERE type IN ('MoneyWithdrawn', 'TransferSent')), 0) AS debit,
           coalesce(sum(amount) FILTER (WHERE type = 'MoneyHeld'), 0)
               - coalesce(sum(amount) FILTER (WHERE type = 'HoldReleased'), 0) AS held,
           count(*) FILTER (WHERE type IN ('MoneyDeposited', 'MoneyWithdrawn', 'TransferSent', 'TransferReceived'))
               AS entries,
           (array_agg(type ORDER BY version DESC)
                FILTER (WHERE type IN ('AccountFrozen', 'AccountUnfrozen', 'AccountClosed')))[1] AS last,
           max(booked_at) AS last_booked_at,
           count(*) AS version,
           max(occurred_at) AS updated_at
    FROM posted GROUP BY 1
)
SELECT history.stream AS account_id,
       opened.data ->> 'customer_id' AS customer_id,
       opened.data ->> 'number' AS number,
       opened.data ->> 'kind' AS kind,
       opened.data ->> 'currency' AS currency,
       credit - debit AS balance,
       held,
       credit - debit - held AS available,
       (opened.data ->> 'overdraft')::bigint AS overdraft,
       CASE last WHEN 'AccountFrozen' THEN 'frozen' WHEN 'AccountClosed' THEN 'closed' ELSE 'open' END AS status,
       entries,
       credit AS amount_in,
       debit AS amount_out,
       last_booked_at,
       (opened.data ->> 'opened_at')::timestamptz AS opened_at,
       (closed.data ->> 'closed_at')::timestamptz AS closed_at,
       history.version,
       updated_at
FROM history
JOIN {events} AS opened ON opened.stream = history.stream AND opened.type = 'AccountOpened'
LEFT JOIN {events} AS closed ON closed.stream = history.stream AND closed.type = 'AccountClosed'
