-- What only the catalog says may be missing while only the stock is known.
CREATE TABLE IF NOT EXISTS {table} (
    product_id   text        NOT NULL PRIMARY KEY,
    name         text,
    category     text,
    price        bigint,
    currency     text,
    discontinued boolean     NOT NULL DEFAULT false,
    on_hand      bigint      NOT NULL DEFAULT 0,
    reserved     bigint      NOT NULL DEFAULT 0,
    available    bigint      NOT NULL DEFAULT 0,
    version      bigint      NOT NULL,
    updated_at   timestamptz NOT NULL
) WITH (fillfactor = 50); -- Room on each page for the next version of its rows.
