-- The customers again, by SQL from the events alone.
WITH touching AS (
    SELECT context, version, type, occurred_at, data,
           data ->> 'customer_id' AS customer_id, data ->> 'currency' AS currency
    FROM {events}
    WHERE context = 'customers'
       OR type IN ('OrderPlaced', 'OrderCancelled', 'PaymentCaptured', 'PaymentRefunded',
                   'NotificationSent', 'NotificationsStopped', 'NotificationsAllowed', 'AccountOpened', 'AccountClosed',
                   'MoneyDeposited', 'MoneyWithdrawn', 'TransferSent', 'TransferReceived')
       OR type = 'OrderConfirmed'
), details AS (
    SELECT DISTINCT ON (customer_id) customer_id, data
    FROM touching WHERE type IN ('CustomerRegistered', 'CustomerDetailsChanged') ORDER BY customer_id, version DESC
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
       placed - cancelled AS order_count,
       coalesce(money -> 'order_value', '[]') AS order_value,
       last.order_id AS last_order_id,
       last.placed_at AS last_order_at,
       confirmed - taken_back AS orders_confirmed,
       cancelled AS orders_cancelled,
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
       version,
       updated_at
FROM counted
LEFT JOIN details USING (customer_id)
LEFT JOIN sums USING (customer_id)
LEFT JOIN last USING (customer_id)
LEFT JOIN tagged USING (customer_id)
LEFT JOIN preferred USING (customer_id)
LEFT JOIN assessed USING (customer_id)
LEFT JOIN held USING (customer_id)
