-- All that is known of a customer in one document; the function customer_360(id) gives the same.
--     SELECT document -> 'profile' ->> 'name', document -> 'accounts' FROM millrace.customer_360 WHERE customer_id = 'ALFKI'
CREATE OR REPLACE VIEW {schema}.customer_360 AS
SELECT customer_id, {schema}.customer_360(customer_id) AS document
FROM {schema}.customers;
