CREATE OR REPLACE VIEW {view} AS
SELECT customer_id, name, contact_name, email, phone, city, country, addresses, birth_date, birth_date_reason,
       order_count, order_value, last_order_id, last_order_at, orders_confirmed, orders_cancelled, paid, refunded, notifications_wanted, notifications_sent,
       tags, preferences, risk_score, risk_assessed_at, products_held, accounts, balance, last_transaction_at,
       first_seen_at, last_seen_at, first_order_at, order_interval, order_means, lifetime_value, refunds,
       carts_abandoned, reviews, rating_sum, rating_hundredths, campaign_messages, campaign_messages_delivered,
       campaign_messages_failed, subscriptions_active, subscriptions_paused, subscriptions_lapsed,
       subscriptions_cancelled, subscriptions_stopped, version, updated_at
FROM {table}
WHERE version > 0;
