-- What only the catalog says may be missing while only the stock or reviews are known.
CREATE TABLE IF NOT EXISTS {table} (
    product_id        text        NOT NULL PRIMARY KEY,
    name              text,
    category          text,
    price             bigint,
    currency          text,
    discontinued      boolean     NOT NULL DEFAULT false,
    on_hand           bigint      NOT NULL DEFAULT 0,
    reserved          bigint      NOT NULL DEFAULT 0,
    available         bigint      NOT NULL DEFAULT 0,
    reviews           bigint      NOT NULL DEFAULT 0,
    one_star          bigint      NOT NULL DEFAULT 0,
    two_stars         bigint      NOT NULL DEFAULT 0,
    three_stars       bigint      NOT NULL DEFAULT 0,
    four_stars        bigint      NOT NULL DEFAULT 0,
    five_stars        bigint      NOT NULL DEFAULT 0,
    rating_hundredths bigint,
    version           bigint      NOT NULL,
    updated_at        timestamptz NOT NULL
) WITH (fillfactor = 50); -- Room on each page for the next version of its rows.
