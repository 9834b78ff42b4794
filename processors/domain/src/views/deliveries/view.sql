CREATE OR REPLACE VIEW {view} AS
SELECT job_id, campaign_id, customer_id, channel, address, status, attempt, reason, queued_at, sent_at, delivered_at,
       failed_at, version, updated_at
FROM {table}
WHERE version > 0;
