CREATE TABLE IF NOT EXISTS {table} (
    reservation_id text        NOT NULL PRIMARY KEY,
    status         text        NOT NULL DEFAULT 'reserved',
    reserved       bigint      NOT NULL DEFAULT 0,
    shipped        bigint      NOT NULL DEFAULT 0,
    returned       bigint      NOT NULL DEFAULT 0,
    released       bigint      NOT NULL DEFAULT 0,
    reserved_at    timestamptz,
    settled_at     timestamptz,
    lines          jsonb       NOT NULL DEFAULT '[]',
    version        bigint      NOT NULL,
    updated_at     timestamptz NOT NULL
) WITH (fillfactor = 50); -- Room on each page for the next version of its rows.
