-- What was compared with the outbox and found right: the auditor goes on from there.
CREATE TABLE IF NOT EXISTS verified (
    -- A view, or `topics`, or `commands`.
    what        text        PRIMARY KEY,
    mark        jsonb       NOT NULL,
    verified_at timestamptz NOT NULL DEFAULT now()
);
