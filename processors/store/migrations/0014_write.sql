-- How often a command was decided or became a dead letter: its outcomes are told apart by it.
ALTER TABLE command ADD COLUMN IF NOT EXISTS life int NOT NULL DEFAULT 1;
