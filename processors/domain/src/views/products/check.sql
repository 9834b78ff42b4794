-- The products again, by SQL from the events alone.
WITH moved AS (
    SELECT CASE context WHEN 'reviews' THEN data ->> 'product_id' ELSE stream END AS product_id,
           type, version, context, occurred_at, data,
           coalesce(data ->> 'quantity', data ->> 'difference')::bigint AS units,
           (data ->> 'rating')::int AS given,
           (data ->> 'previous_rating')::int AS taken
    FROM {events}
), latest AS (
    SELECT product_id,
           (array_agg(data ->> 'name' ORDER BY version DESC) FILTER (WHERE data ? 'name'))[1] AS name,
           (array_agg(data ->> 'category' ORDER BY version DESC) FILTER (WHERE data ? 'category'))[1] AS category,
           (array_agg(data ORDER BY version DESC) FILTER (WHERE type = 'ProductDescribed'))[1] AS described,
           (array_agg(data -> 'price' ORDER BY version DESC) FILTER (WHERE data ? 'price'))[1] AS price,
           max(data ->> 'currency') AS currency,
           coalesce((array_agg(type ORDER BY version DESC)
               FILTER (WHERE type IN ('ProductDiscontinued', 'ProductRelisted')))[1] = 'ProductDiscontinued', false) AS discontinued,
           coalesce(sum(units) FILTER (WHERE type IN ('StockReceived', 'StockAdjusted', 'StockReturned')), 0)
               - coalesce(sum(units) FILTER (WHERE type = 'StockShipped'), 0) AS on_hand,
           coalesce(sum(units) FILTER (WHERE type = 'StockReserved'), 0)
               - coalesce(sum(units) FILTER (WHERE type IN ('StockReleased', 'StockShipped')), 0) AS reserved,
           coalesce(sum(units) FILTER (WHERE type IN ('StockReceived', 'StockAdjusted', 'StockReleased', 'StockReturned')), 0)
               - coalesce(sum(units) FILTER (WHERE type = 'StockReserved'), 0) AS available,
           count(*) FILTER (WHERE type = 'ReviewWritten') - count(*) FILTER (WHERE type = 'ReviewWithdrawn') AS reviews,
           count(*) FILTER (WHERE given = 1) - count(*) FILTER (WHERE taken = 1) AS one_star,
           count(*) FILTER (WHERE given = 2) - count(*) FILTER (WHERE taken = 2) AS two_stars,
           count(*) FILTER (WHERE given = 3) - count(*) FILTER (WHERE taken = 3) AS three_stars,
           count(*) FILTER (WHERE given = 4) - count(*) FILTER (WHERE taken = 4) AS four_stars,
           count(*) FILTER (WHERE given = 5) - count(*) FILTER (WHERE taken = 5) AS five_stars,
           coalesce(sum(given), 0) - coalesce(sum(taken), 0) AS stars,
           count(*) AS version,
           max(occurred_at) AS updated_at
    FROM moved
    GROUP BY product_id
)
SELECT product_id, name, category, described ->> 'description' AS description, described ->> 'unit' AS unit,
       described ->> 'brand' AS brand, described ->> 'image' AS image, price, currency, discontinued, on_hand, reserved, available,
       reviews, one_star, two_stars, three_stars, four_stars, five_stars,
       round(100.0 * stars / nullif(reviews, 0))::bigint AS rating_hundredths,
       version, updated_at
FROM latest
