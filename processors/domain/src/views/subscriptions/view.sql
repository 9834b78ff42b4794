CREATE OR REPLACE VIEW {view} AS
SELECT subscription_id, customer_id, plan, amount, currency, period, status, reason, started_at, periods_paid,
       period_number, period_from, period_until, next_renewal_at, version, updated_at
FROM {table}
WHERE version > 0;
