-- The version of the code whose states of long streams setup has folded, by context.
CREATE TABLE IF NOT EXISTS folded_ahead (
    context       text PRIMARY KEY,
    state_version integer NOT NULL
);
