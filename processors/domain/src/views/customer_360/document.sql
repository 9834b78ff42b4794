
WITH customer AS (
    SELECT * FROM {schema}.customers WHERE customer_id = $1
), account AS (
    SELECT * FROM {schema}.account_balances WHERE customer_id = $1 ORDER BY account_id LIMIT 100
), activity AS (
    SELECT * FROM {schema}.account_activity WHERE customer_id = $1
), latest_order AS (
    SELECT * FROM {schema}.orders WHERE customer_id = $1 ORDER BY placed_at DESC, order_id DESC LIMIT 10
), payment AS (
    SELECT * FROM {schema}.payments WHERE customer_id = $1 ORDER BY requested_at DESC, order_id DESC LIMIT 10
), subscription AS (
    SELECT * FROM {schema}.subscriptions WHERE customer_id = $1 ORDER BY started_at DESC, subscription_id DESC LIMIT 50
), cart AS (
    SELECT * FROM {schema}.carts WHERE customer_id = $1 ORDER BY created_at DESC, cart_id DESC LIMIT 10
), entry AS (
    SELECT * FROM {schema}.customer_history WHERE customer_id = $1 ORDER BY at DESC, entry_id DESC LIMIT 20
), favourite_category AS (
    SELECT category, lines, units, rank FROM {schema}.customer_categories WHERE customer_id = $1 ORDER BY rank LIMIT 5
), favourite_product AS (
    SELECT product_id, lines, units, rank FROM {schema}.customer_products WHERE customer_id = $1 ORDER BY rank LIMIT 5
), folded (name, view, context, stream, version, updated_at) AS (
    SELECT 'profile', 'customers', 'customers', customer_id, version, updated_at FROM customer
    UNION ALL SELECT 'profile', 'customers', 'notifications', customer_id, NULL, NULL FROM customer
    UNION ALL SELECT 'accounts', 'account_balances', 'accounts', account_id, version, updated_at FROM account
    UNION ALL SELECT 'orders', 'orders', 'orders', order_id, version, updated_at FROM latest_order
    UNION ALL SELECT 'payments', 'payments', 'payments', order_id, version, updated_at FROM payment
    UNION ALL SELECT 'subscriptions', 'subscriptions', 'subscriptions', subscription_id, version, updated_at FROM subscription
    UNION ALL SELECT 'carts', 'carts', 'carts', cart_id, version, updated_at FROM cart
    UNION ALL SELECT 'history', 'customer_history', split_part(entry_id, '/', 1), reference_id, version, updated_at FROM entry
    UNION ALL SELECT 'favourites', 'customer_purchases', 'orders', last_order_id, NULL, NULL FROM customer
    UNION ALL SELECT 'favourites', 'customer_purchases', 'orders', NULL, sum(version), max(updated_at)
        FROM {schema}.customer_purchases WHERE customer_id = $1
), part AS (
    SELECT name, sum(folded.version) AS version, max(folded.updated_at) AS updated_at, max(shown.applied_at) AS applied_at
    FROM folded
    LEFT JOIN LATERAL (
        SELECT applied_at FROM {schema}.freshness AS f
        WHERE f.view = folded.view AND f.context = folded.context AND f.stream = folded.stream
    ) AS shown ON true
    GROUP BY name
)
SELECT jsonb_build_object(
    'customer_id', customer_id,
    'as_of', now(),
    'parts', (SELECT jsonb_object_agg(name, to_jsonb(part) - 'name') FROM part),
    'profile', to_jsonb(customer) - 'products_held',
    'favourites', jsonb_build_object(
        'categories', (SELECT coalesce(jsonb_agg(to_jsonb(favourite_category) - 'rank' ORDER BY rank), '[]')
                       FROM favourite_category),
        'products', (SELECT coalesce(jsonb_agg(to_jsonb(favourite_product) - 'rank' ORDER BY rank), '[]')
                     FROM favourite_product)),
    'accounts', (SELECT coalesce(jsonb_agg(to_jsonb(account) - 'customer_id' || jsonb_build_object('last_days', (
                            SELECT coalesce(jsonb_object_agg(days, jsonb_build_object(
                                       'entries', entries, 'amount_in', amount_in, 'amount_out', amount_out)), '{}')
                            FROM activity WHERE activity.account_id = account.account_id AND days IS NOT NULL))
                        ORDER BY account_id), '[]') FROM account),
    'transactions', (SELECT coalesce(jsonb_agg(to_jsonb(total) ORDER BY currency, days), '[]') FROM (
                         SELECT currency, days, sum(entries) AS entries, sum(amount_in) AS amount_in, sum(amount_out) AS amount_out
                         FROM activity GROUP BY currency, days) AS total),
    'orders', (SELECT coalesce(jsonb_agg(to_jsonb(latest_order) - '{customer_id,lines}'::text[]
                                         ORDER BY placed_at DESC, order_id DESC), '[]') FROM latest_order),
    'payments', (SELECT coalesce(jsonb_agg(to_jsonb(payment) - 'customer_id'
                                           ORDER BY requested_at DESC, order_id DESC), '[]') FROM payment),
    'subscriptions', (SELECT coalesce(jsonb_agg(to_jsonb(subscription) - 'customer_id'
                                                ORDER BY started_at DESC, subscription_id DESC), '[]') FROM subscription),
    'carts', (SELECT coalesce(jsonb_agg(to_jsonb(cart) - '{customer_id,lines}'::text[]
                                        ORDER BY created_at DESC, cart_id DESC), '[]') FROM cart),
    'history', (SELECT coalesce(jsonb_agg(to_jsonb(entry) - '{customer_id,detail}'::text[]
                                          ORDER BY at DESC, entry_id DESC), '[]') FROM entry))
FROM customer
