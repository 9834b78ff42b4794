-- What only the customers' context says may be missing while only orders, payments or notifications are known.
CREATE TABLE IF NOT EXISTS {table} (
    customer_id          text        NOT NULL PRIMARY KEY,
    name                 text,
    contact_name         text,
    email                text,
    phone                text,
    city                 text,
    country              text,
    order_count          bigint      NOT NULL DEFAULT 0,
    order_value          jsonb       NOT NULL DEFAULT '[]',
    last_order_id        text,
    last_order_at        timestamptz,
    orders_confirmed     bigint      NOT NULL DEFAULT 0,
    orders_cancelled     bigint      NOT NULL DEFAULT 0,
    paid                 jsonb       NOT NULL DEFAULT '[]',
    refunded             jsonb       NOT NULL DEFAULT '[]',
    notifications_wanted boolean     NOT NULL DEFAULT true,
    notifications_sent   bigint      NOT NULL DEFAULT 0,
    version              bigint      NOT NULL,
    updated_at           timestamptz NOT NULL
) WITH (fillfactor = 50); -- Room on each page for the next version of its rows.
