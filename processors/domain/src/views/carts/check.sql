-- The carts again, by SQL from the events alone.
WITH items AS (
    SELECT context, stream, version, data ->> 'product_id' AS product_id, data ->> 'product_name' AS product_name,
           (data ->> 'quantity')::bigint AS quantity, (data ->> 'unit_price')::bigint AS unit_price, data
    FROM {events} AS added
    WHERE type = 'CartItemAdded' AND NOT EXISTS (
        SELECT FROM {events} AS removed
        WHERE removed.context = added.context AND removed.stream = added.stream AND removed.version > added.version
          AND removed.type = 'CartItemRemoved' AND removed.data ->> 'product_id' = added.data ->> 'product_id')
), priced AS (
    SELECT stream, version, product_id, product_name, unit_price, coalesce(changed.quantity, items.quantity) AS quantity,
           coalesce(changed.quantity, items.quantity) * unit_price AS amount,
           coalesce((coalesce(changed.data, items.data) ->> 'available')::bigint < coalesce(changed.quantity, items.quantity), false) AS short
    FROM items
    LEFT JOIN LATERAL (
        SELECT (data ->> 'quantity')::bigint AS quantity, data FROM {events} AS e
        WHERE e.context = items.context AND e.stream = items.stream AND e.version > items.version
          AND e.type = 'CartQuantityChanged' AND e.data ->> 'product_id' = items.product_id
        ORDER BY e.version DESC LIMIT 1
    ) AS changed ON true
), content AS (
    SELECT stream, sum(amount) AS total, bool_or(short) AS short,
           jsonb_agg(jsonb_build_object('product_id', product_id, 'product_name', product_name, 'quantity', quantity,
                                        'unit_price', unit_price, 'amount', amount, 'short', short) ORDER BY version) AS lines
    FROM priced GROUP BY 1
), history AS (
    SELECT stream,
           (array_agg(type ORDER BY version DESC)
                FILTER (WHERE type IN ('CartCheckedOut', 'CartAbandoned', 'CartReopened')))[1] AS last,
           (array_agg(data ORDER BY version DESC) FILTER (WHERE type = 'CartCheckedOut'))[1] AS checkout,
           count(*) AS version,
           max(occurred_at) AS updated_at
    FROM {events} GROUP BY 1
)
SELECT stream AS cart_id,
       created.data ->> 'customer_id' AS customer_id,
       created.data ->> 'currency' AS currency,
       CASE last WHEN 'CartCheckedOut' THEN 'checked_out' WHEN 'CartAbandoned' THEN 'abandoned' ELSE 'open' END AS status,
       coalesce(total, 0) AS total,
       coalesce(short, false) AS short,
       CASE WHEN last = 'CartCheckedOut' THEN checkout ->> 'order_id' END AS order_id,
       created.occurred_at AS created_at,
       CASE WHEN last = 'CartCheckedOut' THEN (checkout ->> 'checked_out_at')::timestamptz END AS checked_out_at,
       coalesce(lines, '[]') AS lines,
       history.version,
       updated_at
FROM {events} AS created
JOIN history USING (stream)
LEFT JOIN content USING (stream)
WHERE created.type = 'CartCreated'
