CREATE OR REPLACE VIEW {view} AS
SELECT customer_id, name, contact_name, email, phone, city, country, order_count, order_value, last_order_id,
       last_order_at, orders_confirmed, orders_cancelled, paid, refunded, notifications_wanted, notifications_sent,
       tags, preferences, risk_score, risk_assessed_at, products_held, accounts, balance, version, updated_at
FROM {table}
WHERE version > 0;
