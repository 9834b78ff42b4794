CREATE OR REPLACE VIEW {view} AS
SELECT product_id, name, category, description, unit, brand, image, price, currency, discontinued, on_hand, reserved,
       available, reviews, one_star, two_stars, three_stars, four_stars, five_stars, rating_hundredths,
       round(rating_hundredths / 100.0, 2) AS rating_average, version, updated_at
FROM {table}
WHERE version > 0;
