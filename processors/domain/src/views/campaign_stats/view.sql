CREATE OR REPLACE VIEW {view} AS
SELECT campaign_id, segment_id, name, channel, status, failure, audience, pending, sent, delivered, failed, created_at,
       launched_at, version, updated_at
FROM {table}
WHERE version > 0;
