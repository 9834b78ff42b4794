-- What came and went on each account in the last 30, 90 and 365 days, today included, and ever (`days` is NULL). An entry
-- that is booked for a later day counts only in the last of these.
--     SELECT account_id, days, entries, amount_in, amount_out FROM millrace.account_activity
--     WHERE customer_id = 'ALFKI' ORDER BY account_id, days
CREATE OR REPLACE VIEW {schema}.account_activity AS
SELECT a.customer_id, a.account_id, a.currency, span.days,
       coalesce(sum(a.entries) FILTER (WHERE span.days IS NULL OR a.day > clock.today - span.days), 0)::bigint AS entries,
       coalesce(sum(a.amount_in) FILTER (WHERE span.days IS NULL OR a.day > clock.today - span.days), 0)::bigint AS amount_in,
       coalesce(sum(a.amount_out) FILTER (WHERE span.days IS NULL OR a.day > clock.today - span.days), 0)::bigint
           AS amount_out
FROM {schema}.account_analytics AS a
CROSS JOIN (VALUES (30), (90), (365), (NULL::int)) AS span (days)
CROSS JOIN (SELECT (now() AT TIME ZONE 'UTC')::date AS today) AS clock
WHERE span.days IS NULL OR a.day <= clock.today
GROUP BY a.customer_id, a.account_id, a.currency, span.days;
