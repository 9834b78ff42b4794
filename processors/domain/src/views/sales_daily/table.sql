CREATE TABLE IF NOT EXISTS {table} (
    day        date        NOT NULL,
    category   text        NOT NULL,
    currency   text        NOT NULL,
    lines      bigint      NOT NULL,
    units      bigint      NOT NULL,
    revenue    bigint      NOT NULL,
    version    bigint      NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (day, category, currency)
);
