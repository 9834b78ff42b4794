-- The segments again, by SQL from the events alone.
SELECT last.stream AS segment_id,
       last.data ->> 'name' AS name,
       last.data ->> 'rules' AS rules,
       last.occurred_at AS defined_at,
       history.version,
       updated_at
FROM (
    SELECT stream, max(version) AS last, count(*) AS version, max(occurred_at) AS updated_at
    FROM {events} WHERE type = 'SegmentDefined' GROUP BY 1
) AS history
JOIN {events} AS last ON last.stream = history.stream AND last.version = history.last
