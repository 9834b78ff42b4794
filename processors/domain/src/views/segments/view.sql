CREATE OR REPLACE VIEW {view} AS
SELECT segment_id, name, rules, defined_at, version, updated_at
FROM {table}
WHERE version > 0;
