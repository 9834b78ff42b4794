CREATE OR REPLACE VIEW {view} AS
SELECT product_id, name, category, price, currency, discontinued, on_hand, reserved, available, version, updated_at
FROM {table}
WHERE version > 0;
