-- What a generation is like, as the build that made it says; null: as whatever set it up.
ALTER TABLE replay ADD COLUMN IF NOT EXISTS shape text;
-- The release of that build; null: one of before releases had numbers.
ALTER TABLE replay ADD COLUMN IF NOT EXISTS release int CHECK (release > 0);
-- A build of another shape asks for the next generation, too.
ALTER TABLE replay DROP CONSTRAINT IF EXISTS replay_asked_by_check;
ALTER TABLE replay ADD CONSTRAINT replay_asked_by_check CHECK (asked_by IN ('setup', 'operator', 'reset', 'release'));
