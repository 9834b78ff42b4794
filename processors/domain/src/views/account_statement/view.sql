-- An account's entries in order:
--     SELECT * FROM millrace.account_statement WHERE account_id = 'DE01' ORDER BY entry
CREATE OR REPLACE VIEW {view} AS
SELECT entry_id, account_id, customer_id, entry, booked_at, kind, amount, currency, balance, counterparty, reference,
       text, version, updated_at
FROM {table}
WHERE version > 0;

-- The entries of all accounts of a customer, newest first, from a time on and before another, so that spans that follow
-- each other share no entry:
--     SELECT * FROM millrace.customer_transactions
--     WHERE customer_id = 'ALFKI' AND booked_at >= '2026-01-01' AND booked_at < '2027-01-01'
--     ORDER BY booked_at DESC, account_id DESC, entry DESC
CREATE OR REPLACE VIEW {schema}.customer_transactions AS
SELECT customer_id, booked_at, account_id, entry, kind, amount, currency, balance, counterparty, reference, text
FROM {view};
