-- The longer UNIQUE constraint is there for its index: of one campaign's messages.
CREATE TABLE IF NOT EXISTS {table} (
    job_id       text        NOT NULL PRIMARY KEY,
    campaign_id  text        NOT NULL,
    customer_id  text        NOT NULL,
    channel      text        NOT NULL,
    address      text        NOT NULL,
    status       text        NOT NULL,
    attempt      int         NOT NULL,
    reason       text,
    queued_at    timestamptz NOT NULL,
    sent_at      timestamptz,
    delivered_at timestamptz,
    failed_at    timestamptz,
    version      bigint      NOT NULL,
    updated_at   timestamptz NOT NULL,
    UNIQUE (campaign_id, job_id)
) WITH (fillfactor = 50); -- Room on each page for the next version of its rows.
