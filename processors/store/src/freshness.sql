-- How far each view is: a row for each stream of which it shows events. A statement that names context and stream uses an index.
--     SELECT view, version, applied_at FROM millrace.freshness
--       WHERE context = 'orders' AND stream = '10248' ORDER BY view
CREATE OR REPLACE VIEW freshness AS
SELECT replay.view, progress.context, progress.stream, progress.version, progress.applied_at
FROM replay
JOIN progress ON progress.grp = '{namespace}.' || replay.view AND progress.generation = replay.generation
WHERE replay.state = 'serving' AND progress.version > 0;
