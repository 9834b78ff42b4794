-- The UNIQUE constraint is there for its index, read backwards: of one customer's history, the newest first.
CREATE TABLE IF NOT EXISTS {table} (
    entry_id     text        NOT NULL PRIMARY KEY,
    customer_id  text        NOT NULL,
    at           timestamptz NOT NULL,
    kind         text        NOT NULL,
    reference_id text        NOT NULL,
    amount       bigint,
    currency     text,
    detail       jsonb       NOT NULL,
    version      bigint      NOT NULL,
    updated_at   timestamptz NOT NULL,
    UNIQUE (customer_id, at, entry_id)
);
