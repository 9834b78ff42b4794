-- The longer UNIQUE constraint is there for its index: of one customer's accounts.
CREATE TABLE IF NOT EXISTS {table} (
    account_id     text        NOT NULL PRIMARY KEY,
    customer_id    text        NOT NULL,
    number         text        NOT NULL,
    kind           text        NOT NULL,
    currency       text        NOT NULL,
    balance        bigint      NOT NULL,
    held           bigint      NOT NULL,
    available      bigint      NOT NULL,
    overdraft      bigint      NOT NULL,
    status         text        NOT NULL,
    entries        bigint      NOT NULL,
    amount_in      bigint      NOT NULL,
    amount_out     bigint      NOT NULL,
    last_booked_at timestamptz,
    opened_at      timestamptz NOT NULL,
    closed_at      timestamptz,
    version        bigint      NOT NULL,
    updated_at     timestamptz NOT NULL,
    UNIQUE (customer_id, account_id)
) WITH (fillfactor = 50); -- Room on each page for the next version of its rows.
