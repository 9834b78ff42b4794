-- A later event of the stream has made the call superfluous: it ends as withdrawn as soon as it is known not to have been made,
-- also when that is known only after its next try.
ALTER TABLE effect ADD COLUMN IF NOT EXISTS superfluous boolean NOT NULL DEFAULT false;
