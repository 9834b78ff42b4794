-- How far each stream was folded into a view: the version is the ticket.
CREATE TABLE IF NOT EXISTS progress (
    grp        text   NOT NULL,
    generation int    NOT NULL,
    context    text   NOT NULL,
    stream     text   NOT NULL,
    version    bigint NOT NULL,
    PRIMARY KEY (grp, generation, context, stream)
) WITH (fillfactor = 45); -- Room on each page for the next version of all its rows: a batch may move them all.

-- Which generations of each view there are: the one truth that setup, `millrace run` and `millrace replay` follow.
-- A generation is built beside the serving one, takes its place when they compare equal, and follows until retired.
CREATE TABLE IF NOT EXISTS replay (
    view               text        NOT NULL,
    generation         int         NOT NULL CHECK (generation > 0),
    state              text        NOT NULL CHECK (state IN ('building', 'serving', 'following', 'retired')),
    asked_by           text        NOT NULL CHECK (asked_by IN ('setup', 'operator', 'reset')),
    reason             text        NOT NULL,
    -- Swap even when the comparison finds differences.
    accept_differences boolean     NOT NULL DEFAULT false,
    -- What the last comparison with the serving generation found; null: compare (again) when it is level.
    comparison         jsonb,
    started_at         timestamptz NOT NULL DEFAULT now(),
    swapped_at         timestamptz,
    -- When a retired generation's tables, topics, index and group were gone.
    removed_at         timestamptz,
    PRIMARY KEY (view, generation)
);
CREATE UNIQUE INDEX IF NOT EXISTS replay_serving ON replay (view) WHERE state = 'serving';
CREATE UNIQUE INDEX IF NOT EXISTS replay_building ON replay (view) WHERE state = 'building';
