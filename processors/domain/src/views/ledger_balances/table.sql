CREATE TABLE IF NOT EXISTS {table} (
    ledger_account text        NOT NULL,
    currency       text        NOT NULL,
    debit          bigint      NOT NULL,
    credit         bigint      NOT NULL,
    version        bigint      NOT NULL,
    updated_at     timestamptz NOT NULL,
    PRIMARY KEY (ledger_account, currency)
) WITH (fillfactor = 50); -- Room on each page for the next version of its rows.
