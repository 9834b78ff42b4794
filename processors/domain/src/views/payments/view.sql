CREATE OR REPLACE VIEW {view} AS
SELECT order_id, subscription_id, customer_id, currency, amount, status, captured, refunded, provider_reference,
       decline_code, decline_reason, requested_at, captured_at, refunds, version, updated_at
FROM {table}
WHERE version > 0;
