-- The longer UNIQUE constraint is there for its index: of one customer's subscriptions by time.
CREATE TABLE IF NOT EXISTS {table} (
    subscription_id text        NOT NULL PRIMARY KEY,
    customer_id     text        NOT NULL,
    plan            text        NOT NULL,
    amount          bigint      NOT NULL,
    currency        text        NOT NULL,
    period          text        NOT NULL,
    status          text        NOT NULL,
    reason          text,
    started_at      timestamptz NOT NULL,
    periods_paid    bigint      NOT NULL,
    period_number   bigint,
    period_from     timestamptz,
    period_until    timestamptz,
    next_renewal_at timestamptz,
    version         bigint      NOT NULL,
    updated_at      timestamptz NOT NULL,
    UNIQUE (customer_id, started_at, subscription_id)
) WITH (fillfactor = 50); -- Room on each page for the next version of its rows.
