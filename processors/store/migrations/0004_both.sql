-- Which release has set this instance up, the last row the last one: an earlier release changes nothing of it unasked.
CREATE TABLE IF NOT EXISTS deployed (
    id      int         GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    release int         NOT NULL CHECK (release > 0),
    at      timestamptz NOT NULL DEFAULT now()
);
