CREATE OR REPLACE VIEW {view} AS
SELECT day, category, currency, lines, units, revenue, version, updated_at
FROM {table}
WHERE version > 0;
