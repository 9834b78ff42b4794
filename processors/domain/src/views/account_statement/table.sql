-- The two UNIQUE constraints are there for their indexes: of one account's entries in order, and of one customer's by
-- time, which Postgres reads backwards as well. Rows never change, so pages are filled.
CREATE TABLE IF NOT EXISTS {table} (
    entry_id     text        NOT NULL PRIMARY KEY,
    account_id   text        NOT NULL,
    customer_id  text        NOT NULL,
    entry        bigint      NOT NULL,
    booked_at    timestamptz NOT NULL,
    kind         text        NOT NULL,
    amount       bigint      NOT NULL,
    currency     text        NOT NULL,
    balance      bigint      NOT NULL,
    counterparty text,
    reference    text        NOT NULL,
    text         text        NOT NULL,
    version      bigint      NOT NULL,
    updated_at   timestamptz NOT NULL,
    UNIQUE (account_id, entry),
    UNIQUE (customer_id, booked_at, account_id, entry)
);
