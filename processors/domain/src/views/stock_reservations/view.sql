-- A reservation is not settled while anything is reserved.
CREATE OR REPLACE VIEW {view} AS
SELECT reservation_id, status, reserved, shipped, returned, released, reserved_at,
       CASE WHEN status <> 'reserved' THEN settled_at END AS settled_at, lines, version, updated_at
FROM {table}
WHERE version > 0;
