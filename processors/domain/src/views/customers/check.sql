-- The customers again, by SQL from the events alone.
WITH messages AS (
    SELECT context, stream, version, type, occurred_at, message ->> 'customer_id' AS customer_id,
           message ->> 'from' AS was, message ->> 'to' AS became
    FROM {events}
    CROSS JOIN LATERAL jsonb_array_elements(coalesce(data -> 'recipients', data -> 'changes')) AS message
    WHERE type IN ('DeliveriesQueued', 'DeliveriesChanged') AND message ->> 'customer_id' <> ''
), told AS (
    SELECT customer_id,
           count(*) FILTER (WHERE type = 'DeliveriesQueued') AS queued,
           count(*) FILTER (WHERE became = 'delivered' AND was <> 'delivered') AS delivered,
           count(*) FILTER (WHERE became IN ('failed', 'dead') AND was NOT IN ('failed', 'dead')) AS failed
    FROM messages GROUP BY 1
), standing AS (
    SELECT customer_id, subscription_id, CASE last
               WHEN 'SubscriptionPaused' THEN 'paused'
               WHEN 'SubscriptionLapsed' THEN 'lapsed'
               WHEN 'SubscriptionCancelled' THEN 'cancelled'
               ELSE 'active'
           END AS status
    FROM (
        SELECT DISTINCT ON (stream) stream AS subscription_id, data ->> 'customer_id' AS customer_id, type AS last
        FROM {events} WHERE type LIKE 'Subscription%' ORDER BY stream, version DESC
    ) AS newest
), subscribed AS (
    SELECT customer_id,
           count(*) FILTER (WHERE status = 'active') AS active,
           count(*) FILTER (WHERE status = 'paused') AS paused,
           count(*) FILTER (WHERE status = 'lapsed') AS lapsed,
           count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
           jsonb_agg(jsonb_build_object('subscription_id', subscription_id, 'status', status)
                     ORDER BY subscription_id COLLATE "C") FILTER (WHERE status IN ('paused', 'lapsed')) AS stopped
    FROM standing GROUP BY 1
), touching AS (
    SELECT context, version, type, occurred_at, data,
           data ->> 'customer_id' AS customer_id, data ->> 'currency' AS currency
    FROM {events}
    WHERE context = 'customers'
       OR type IN ('OrderPlaced', 'OrderCancelled', 'PaymentCaptured', 'PaymentRefunded',
                   'NotificationSent', 'NotificationsStopped', 'NotificationsAllowed', 'AccountOpened', 'AccountClosed',
                   'MoneyDeposited', 'MoneyWithdrawn', 'TransferSent', 'TransferReceived', 'CartCreated', 'CartCheckedOut',
                   'ReviewWritten', 'ReviewEdited', 'ReviewWithdrawn', 'SubscriptionStarted', 'SubscriptionPaused',
                   'SubscriptionLapsed', 'SubscriptionResumed', 'SubscriptionCancelled')
       OR type = 'OrderConfirmed'
       OR type = 'CartAbandoned' AND data ->> 'customer_id' <> ''
    UNION ALL
    SELECT context, version, type, occurred_at, NULL, customer_id, NULL
    FROM messages GROUP BY context, stream, version, type, occurred_at, customer_id
), details AS (
    SELECT DISTINCT ON (customer_id) customer_id, data
    FROM touching WHERE type IN ('CustomerRegistered', 'CustomerDetailsChanged') ORDER BY customer_id, version DESC
), stated AS (
    SELECT DISTINCT ON (1, 2) customer_id, data ->> 'address_id' AS address_id, type, data - 'customer_id' - 'is_default' AS address
    FROM touching WHERE type LIKE 'CustomerAddress%' ORDER BY 1, 2, version DESC
), defaults AS (
    SELECT DISTINCT ON (customer_id) customer_id, data ->> 'address_id' AS default_id
    FROM touching WHERE type = 'CustomerAddressSet' AND (data ->> 'is_default')::boolean ORDER BY customer_id, version DESC
), residing AS (
    SELECT customer_id,
           jsonb_agg(address || jsonb_build_object('is_default', address_id = default_id) ORDER BY address_id COLLATE "C")
               AS addresses
    FROM stated LEFT JOIN defaults USING (customer_id) WHERE type = 'CustomerAddressSet' GROUP BY 1
), born AS (
    SELECT DISTINCT ON (customer_id) customer_id, (data ->> 'birth_date')::date AS birth_date, data ->> 'reason' AS birth_date_reason
    FROM touching WHERE type = 'CustomerBirthDateSet' ORDER BY customer_id, version DESC
), tagging AS (
    SELECT DISTINCT ON (1, 2) customer_id, data ->> 'tag' AS tag, type
    FROM touching WHERE type IN ('CustomerTagged', 'CustomerUntagged') ORDER BY 1, 2, version DESC
), tagged AS (
    SELECT customer_id, jsonb_agg(tag ORDER BY tag COLLATE "C") AS tags
    FROM tagging WHERE type = 'CustomerTagged' GROUP BY 1
), preferring AS (
    SELECT DISTINCT ON (1, 2) customer_id, data ->> 'name' AS name, data ->> 'value' AS value
    FROM touching WHERE type = 'CustomerPreferenceSet' ORDER BY 1, 2, version DESC
), preferred AS (
    SELECT customer_id, jsonb_object_agg(name, value) AS preferences
    FROM preferring WHERE value IS NOT NULL GROUP BY 1
), assessed AS (
    SELECT DISTINCT ON (customer_id) customer_id, (data ->> 'score')::int AS risk_score,
           (data ->> 'assessed_at')::timestamptz AS risk_assessed_at
    FROM touching WHERE type = 'CustomerRiskAssessed'
    ORDER BY customer_id, (data ->> 'assessed_at')::timestamptz DESC, version DESC
), by_product AS (
    SELECT customer_id, line ->> 'product_id' AS product_id,
           sum((line ->> 'quantity')::bigint * CASE type WHEN 'OrderConfirmed' THEN 1 ELSE -1 END) AS units
    FROM touching CROSS JOIN LATERAL jsonb_array_elements(data -> 'lines') AS line
    WHERE type = 'OrderConfirmed' OR type = 'OrderCancelled' AND (data ->> 'confirmed')::boolean
    GROUP BY 1, 2
), held AS (
    SELECT customer_id,
           jsonb_agg(jsonb_build_object('product_id', product_id, 'units', units) ORDER BY product_id COLLATE "C")
               AS products_held
    FROM by_product WHERE units <> 0 GROUP BY 1
), counted AS (
    SELECT customer_id,
           count(*) FILTER (WHERE type = 'OrderPlaced') AS placed,
           count(*) FILTER (WHERE type = 'OrderConfirmed' AND jsonb_array_length(data -> 'lines') > 0) AS confirmed,
           count(*) FILTER (WHERE type = 'OrderCancelled') AS cancelled,
           count(*) FILTER (WHERE type = 'OrderCancelled' AND (data ->> 'confirmed')::boolean) AS taken_back,
           count(*) FILTER (WHERE type = 'NotificationSent') AS notified,
           count(*) FILTER (WHERE type = 'AccountOpened') - count(*) FILTER (WHERE type = 'AccountClosed') AS accounts,
           (array_agg(type ORDER BY version DESC)
                FILTER (WHERE type IN ('NotificationsStopped', 'NotificationsAllowed')))[1] AS preference,
           max((data ->> 'booked_at')::timestamptz) AS booked_at,
           min((data ->> 'placed_at')::timestamptz) FILTER (WHERE type = 'OrderPlaced') AS first_order_at,
           max((data ->> 'placed_at')::timestamptz) FILTER (WHERE type = 'OrderPlaced') AS newest_order_at,
           count(*) FILTER (WHERE type = 'PaymentRefunded') AS refunds,
           count(*) FILTER (WHERE type = 'CartAbandoned') AS carts_abandoned,
           count(*) FILTER (WHERE type = 'ReviewWritten') - count(*) FILTER (WHERE type = 'ReviewWithdrawn') AS reviews,
           coalesce(sum((data ->> 'rating')::bigint) FILTER (WHERE type IN ('ReviewWritten', 'ReviewEdited')), 0)
               - coalesce(sum((data ->> 'previous_rating')::bigint)
                          FILTER (WHERE type IN ('ReviewEdited', 'ReviewWithdrawn')), 0) AS rating_sum,
           count(*) AS version, max(occurred_at) AS updated_at
    FROM touching GROUP BY 1
), moved AS (
    SELECT customer_id, currency, 'order_value' AS sum,
           (data ->> 'total')::bigint * CASE type WHEN 'OrderPlaced' THEN 1 ELSE -1 END AS amount
    FROM touching WHERE type IN ('OrderPlaced', 'OrderCancelled')
    UNION ALL
    SELECT customer_id, currency, CASE type WHEN 'PaymentCaptured' THEN 'paid' ELSE 'refunded' END,
           (data ->> 'amount')::bigint
    FROM touching WHERE type IN ('PaymentCaptured', 'PaymentRefunded')
    UNION ALL
    SELECT customer_id, currency, 'lifetime_value',
           (data ->> 'amount')::bigint * CASE type WHEN 'PaymentCaptured' THEN 1 ELSE -1 END
    FROM touching WHERE type IN ('PaymentCaptured', 'PaymentRefunded')
    UNION ALL
    SELECT customer_id, currency, 'balance',
           (data ->> 'amount')::bigint * CASE WHEN type IN ('MoneyDeposited', 'TransferReceived') THEN 1 ELSE -1 END
    FROM touching WHERE type IN ('MoneyDeposited', 'MoneyWithdrawn', 'TransferSent', 'TransferReceived')
), by_currency AS (
    SELECT customer_id, sum, currency, sum(amount) AS amount FROM moved GROUP BY 1, 2, 3
), worth AS (
    SELECT customer_id, sum,
           jsonb_agg(jsonb_build_object('currency', currency, 'amount', amount) ORDER BY currency COLLATE "C") AS money
    FROM by_currency GROUP BY 1, 2
), sums AS (
    SELECT customer_id, jsonb_object_agg(sum, money) AS money FROM worth GROUP BY 1
), valued AS (
    SELECT customer_id, currency,
           count(*) FILTER (WHERE type = 'OrderPlaced') - count(*) FILTER (WHERE type = 'OrderCancelled') AS orders,
           sum((data ->> 'total')::bigint * CASE type WHEN 'OrderPlaced' THEN 1 ELSE -1 END) AS amount
    FROM touching WHERE type IN ('OrderPlaced', 'OrderCancelled') GROUP BY 1, 2
), means AS (
    SELECT customer_id,
           jsonb_agg(jsonb_build_object('currency', currency, 'orders', orders,
                                        'amount', coalesce(round(amount / nullif(orders, 0)), 0)::bigint)
                     ORDER BY currency COLLATE "C") AS order_means
    FROM valued GROUP BY 1
), acting AS (
    SELECT customer_id, CASE
               WHEN type IN ('CartCreated', 'CustomerRegistered', 'CustomerDetailsChanged', 'CustomerPreferenceSet',
                             'CustomerAddressSet', 'CustomerAddressRemoved', 'CustomerBirthDateSet', 'NotificationsAllowed', 'NotificationsStopped', 'SubscriptionPaused') THEN occurred_at
               ELSE (data ->> CASE type
                         WHEN 'AccountOpened' THEN 'opened_at'
                         WHEN 'MoneyDeposited' THEN 'booked_at'
                         WHEN 'MoneyWithdrawn' THEN 'booked_at'
                         WHEN 'TransferSent' THEN 'booked_at'
                         WHEN 'CartCheckedOut' THEN 'checked_out_at'
                         WHEN 'OrderPlaced' THEN 'placed_at'
                         WHEN 'ReviewWritten' THEN 'written_at'
                         WHEN 'ReviewEdited' THEN 'edited_at'
                         WHEN 'SubscriptionStarted' THEN 'started_at'
                         WHEN 'SubscriptionResumed' THEN 'resumed_at'
                     END)::timestamptz
           END AS at
    FROM touching
), seen AS (
    SELECT customer_id, min(at) AS first_seen_at, max(at) AS last_seen_at FROM acting GROUP BY 1
), last AS (
    SELECT DISTINCT ON (customer_id) customer_id, data ->> 'order_id' AS order_id,
           (data ->> 'placed_at')::timestamptz AS placed_at
    FROM touching WHERE type = 'OrderPlaced'
    ORDER BY customer_id, (data ->> 'placed_at')::timestamptz DESC, (data ->> 'order_id') COLLATE "C" DESC
)
SELECT customer_id,
       data ->> 'name' AS name,
       data ->> 'contact_name' AS contact_name,
       data ->> 'email' AS email,
       data ->> 'phone' AS phone,
       data ->> 'city' AS city,
       data ->> 'country' AS country,
       coalesce(addresses, '[]') AS addresses,
       birth_date,
       birth_date_reason,
       placed - counted.cancelled AS order_count,
       coalesce(money -> 'order_value', '[]') AS order_value,
       last.order_id AS last_order_id,
       last.placed_at AS last_order_at,
       confirmed - taken_back AS orders_confirmed,
       counted.cancelled AS orders_cancelled,
       coalesce(money -> 'paid', '[]') AS paid,
       coalesce(money -> 'refunded', '[]') AS refunded,
       preference IS DISTINCT FROM 'NotificationsStopped' AS notifications_wanted,
       notified AS notifications_sent,
       coalesce(tags, '[]') AS tags,
       coalesce(preferences, '{}') AS preferences,
       risk_score,
       risk_assessed_at,
       coalesce(products_held, '[]') AS products_held,
       accounts,
       coalesce(money -> 'balance', '[]') AS balance,
       booked_at AS last_transaction_at,
       first_seen_at,
       last_seen_at,
       first_order_at,
       div(floor(extract(epoch FROM newest_order_at - first_order_at)), nullif(placed - 1, 0))::bigint AS order_interval,
       coalesce(order_means, '[]') AS order_means,
       coalesce(money -> 'lifetime_value', '[]') AS lifetime_value,
       refunds,
       carts_abandoned,
       reviews,
       rating_sum,
       round(100.0 * rating_sum / nullif(reviews, 0))::bigint AS rating_hundredths,
       coalesce(queued, 0) AS campaign_messages,
       coalesce(delivered, 0) AS campaign_messages_delivered,
       coalesce(failed, 0) AS campaign_messages_failed,
       coalesce(active, 0) AS subscriptions_active,
       coalesce(paused, 0) AS subscriptions_paused,
       coalesce(lapsed, 0) AS subscriptions_lapsed,
       coalesce(subscribed.cancelled, 0) AS subscriptions_cancelled,
       coalesce(stopped, '[]') AS subscriptions_stopped,
       version,
       updated_at
FROM counted
LEFT JOIN details USING (customer_id)
LEFT JOIN sums USING (customer_id)
LEFT JOIN last USING (customer_id)
LEFT JOIN residing USING (customer_id)
LEFT JOIN born USING (customer_id)
LEFT JOIN tagged USING (customer_id)
LEFT JOIN preferred USING (customer_id)
LEFT JOIN assessed USING (customer_id)
LEFT JOIN held USING (customer_id)
LEFT JOIN means USING (customer_id)
LEFT JOIN seen USING (customer_id)
LEFT JOIN told USING (customer_id)
LEFT JOIN subscribed USING (customer_id)
