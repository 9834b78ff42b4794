CREATE OR REPLACE VIEW {view} AS
SELECT entry_id, customer_id, at, kind, reference_id, amount, currency, detail, version, updated_at
FROM {table}
WHERE version > 0;
