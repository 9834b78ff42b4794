-- The customers again, told by SQL from the events alone.
WITH details AS (
    SELECT DISTINCT ON (stream) stream AS customer_id, data
    FROM {events} WHERE context = 'customers' ORDER BY stream, version DESC
), bought AS (
    SELECT data ->> 'customer_id' AS customer_id, data ->> 'order_id' AS order_id, data ->> 'currency' AS currency,
           CASE type WHEN 'OrderPlaced' THEN 1 ELSE -1 END AS orders, (data ->> 'total')::bigint AS total,
           (data ->> 'placed_at')::timestamptz AS placed_at, type, occurred_at
    FROM {events} WHERE type IN ('OrderPlaced', 'OrderCancelled')
), by_currency AS (
    SELECT customer_id, currency, sum(orders * total) AS amount FROM bought GROUP BY 1, 2
), worth AS (
    SELECT customer_id,
           jsonb_agg(jsonb_build_object('currency', currency, 'amount', amount) ORDER BY currency COLLATE "C") AS order_value
    FROM by_currency GROUP BY 1
), counted AS (
    SELECT customer_id, sum(orders) AS order_count FROM bought GROUP BY 1
), last AS (
    SELECT DISTINCT ON (customer_id) customer_id, order_id, placed_at
    FROM bought WHERE type = 'OrderPlaced' ORDER BY customer_id, placed_at DESC, order_id COLLATE "C" DESC
), touched AS (
    SELECT customer_id, count(*) AS version, max(occurred_at) AS updated_at
    FROM (
        SELECT stream AS customer_id, occurred_at FROM {events} WHERE context = 'customers'
        UNION ALL
        SELECT customer_id, occurred_at FROM bought
    ) AS every GROUP BY 1
)
SELECT customer_id,
       data ->> 'name' AS name,
       data ->> 'contact_name' AS contact_name,
       data ->> 'email' AS email,
       data ->> 'phone' AS phone,
       data ->> 'city' AS city,
       data ->> 'country' AS country,
       coalesce(order_count, 0) AS order_count,
       coalesce(order_value, '[]') AS order_value,
       last.order_id AS last_order_id,
       last.placed_at AS last_order_at,
       version,
       updated_at
FROM touched
LEFT JOIN details USING (customer_id)
LEFT JOIN counted USING (customer_id)
LEFT JOIN worth USING (customer_id)
LEFT JOIN last USING (customer_id)
