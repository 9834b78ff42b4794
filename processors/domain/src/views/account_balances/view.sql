CREATE OR REPLACE VIEW {view} AS
SELECT account_id, customer_id, number, kind, currency, balance, held, available, overdraft, status, entries, amount_in,
       amount_out, last_booked_at, opened_at, closed_at, version, updated_at
FROM {table}
WHERE version > 0;

-- The customers' names and all their accounts. A name is empty until the customer is known here.
CREATE OR REPLACE VIEW {schema}.customer_accounts AS
SELECT a.customer_id, c.name, c.email, a.account_id, a.number, a.kind, a.currency, a.balance, a.held, a.available,
       a.overdraft, a.status, a.entries, a.opened_at, a.closed_at, a.amount_in, a.amount_out, a.last_booked_at
FROM {view} AS a
LEFT JOIN {schema}.customers AS c USING (customer_id);
