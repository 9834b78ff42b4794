-- The version of the stored form of the request: an earlier build leaves a call with a later one to the release that wrote it.
ALTER TABLE effect ADD COLUMN IF NOT EXISTS request_version int NOT NULL DEFAULT 1;
