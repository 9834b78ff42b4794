-- When the version was applied; null: before there was the column, or by a release that does not know it. Of no index, so that
-- an update still fits on the page of its row (HOT).
ALTER TABLE progress ADD COLUMN IF NOT EXISTS applied_at timestamptz;
