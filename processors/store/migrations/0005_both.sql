-- The version of the tables that a release has set up, and the lowest release that may still work on them; null: not known.
ALTER TABLE deployed ADD COLUMN tables bigint;
ALTER TABLE deployed ADD COLUMN oldest int CHECK (oldest > 0);
