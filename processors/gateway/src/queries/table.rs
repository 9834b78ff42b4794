//! The queries that there are. Dispatch, the OpenAPI document and the tests are made from this table.

use millrace_domain::views::customer_360;
use millrace_ops::config::Subject;

use super::parameter::{Kind, Parameter};
use super::route::{Documents, Route, Rows, Shape, Source};
use super::{search, sql};

/// The preview of rules that are not defined yet: `POST`, since they do not fit a URL.
pub(crate) const PREVIEW: &str = "/v1/segments/preview";

/// Every query.
pub(crate) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/products",
        summary: "Products by text and filters, with counts of all that match by category and currency.",
        subject: Subject::Products,
        parameters: &[
            of("q", Kind::Text, "Words of the name or the category; the last one may be a beginning."),
            of("category", Kind::Text, "The category."),
            of("currency", Kind::Text, "The currency of the price, ISO 4217."),
            of("price_min", UNITS, "The price in minor units, at least."),
            of("price_max", UNITS, "The price in minor units, at most."),
            of("available", Kind::Flag, "Whether a unit can be reserved now."),
            of("discontinued", Kind::Flag, "Whether it is out of sale."),
            of("sort", Kind::OneOf(search::PRODUCT_SORTS), "The order; `relevance` by default."),
        ],
        source: Source::Documents(Documents { view: "products", search: search::products }),
    },
    Route {
        path: "/v1/products/{product_id}",
        summary: "A product with price, stock and ratings.",
        subject: Subject::Products,
        parameters: &[],
        source: Source::Rows(one(&["products"], Some("catalog"), sql::PRODUCT)),
    },
    Route {
        path: "/v1/carts/{cart_id}",
        summary: "A cart; each line also has the product's current price and stock.",
        subject: Subject::Carts,
        parameters: &[],
        source: Source::Rows(one(&["carts", "products"], Some("carts"), sql::CART)),
    },
    Route {
        path: "/v1/orders/{order_id}",
        summary: "An order with its lines and its payment.",
        subject: Subject::Orders,
        parameters: &[],
        source: Source::Rows(one(&["orders"], Some("orders"), sql::ORDER)),
    },
    Route {
        path: "/v1/customers",
        summary: "Customers by name or e-mail address, and filters.",
        subject: Subject::Customers,
        parameters: &[
            of(
                "q",
                Kind::Text,
                "Words of the name or the contact's name, the last one may be a beginning; or the e-mail address.",
            ),
            of("country", Kind::Text, "The country, as the upstream system spells it."),
            of("city", Kind::Text, "The city."),
            of("tag", Kind::Text, "A tag."),
            of("risk_min", Kind::Integer { min: 0, max: 100 }, "The risk score, at least."),
            of("sort", Kind::OneOf(search::CUSTOMER_SORTS), "The order; `relevance` by default."),
        ],
        source: Source::Documents(Documents { view: "customers", search: search::customers }),
    },
    Route {
        path: "/v1/customers/{customer_id}",
        summary: "A customer with all that is known: orders, payments, accounts, tags, preferences, risk.",
        subject: Subject::Customers,
        parameters: &[],
        source: Source::Rows(one(&["customers"], Some("customers"), sql::CUSTOMER)),
    },
    Route {
        path: "/v1/customers/{customer_id}/360",
        summary: "A customer with accounts, newest orders, payments, subscriptions, carts and history in one document.",
        subject: Subject::Overview,
        parameters: &[],
        source: Source::Rows(Rows {
            of: customer_360::NAME,
            ..one(customer_360::READ_MODELS, Some("customers"), sql::CUSTOMER_360)
        }),
    },
    Route {
        path: "/v1/customers/{customer_id}/orders",
        summary: "Orders of a customer, the newest first.",
        subject: Subject::Orders,
        parameters: &[of("status", Kind::OneOf(sql::ORDER_STATUSES), "Where the order stands."), FROM, UNTIL],
        source: Source::Rows(list(
            &["orders"],
            "orders",
            sql::ORDERS,
            &[("placed_at", Kind::Time), ("order_id", Kind::Text)],
        )),
    },
    Route {
        path: "/v1/customers/{customer_id}/history",
        summary: "What happened with a customer, the newest first.",
        subject: Subject::Customers,
        parameters: &[of("kind", Kind::Text, "What happened, such as `order_placed`."), FROM, UNTIL],
        source: Source::Rows(list(
            &["customer_history"],
            "customer_history",
            sql::HISTORY,
            &[("at", Kind::Time), ("entry_id", Kind::Text)],
        )),
    },
    Route {
        path: "/v1/customers/{customer_id}/accounts",
        summary: "Accounts of a customer.",
        subject: Subject::Accounts,
        parameters: &[],
        source: Source::Rows(list(
            &["account_balances"],
            "account_balances",
            sql::ACCOUNTS,
            &[("account_id", Kind::Text)],
        )),
    },
    Route {
        path: "/v1/customers/{customer_id}/transactions",
        summary: "Entries of all accounts of a customer, the newest first.",
        subject: Subject::Accounts,
        parameters: &[ENTRY_KIND, FROM, UNTIL],
        source: Source::Rows(list(
            &["account_statement"],
            "customer_transactions",
            sql::TRANSACTIONS,
            &[("booked_at", Kind::Time), ("account_id", Kind::Text), ("entry", COUNT)],
        )),
    },
    Route {
        path: "/v1/customers/{customer_id}/analytics/daily",
        summary: "What came and went on a customer's accounts by day, the newest first.",
        subject: Subject::Accounts,
        parameters: &[FROM_DAY, UNTIL_DAY],
        source: Source::Rows(list(&["account_analytics"], "account_analytics", sql::DAILY, BY_DAY)),
    },
    Route {
        path: "/v1/customers/{customer_id}/analytics/weekly",
        summary: "The same by ISO week.",
        subject: Subject::Accounts,
        parameters: &[FROM_DAY, UNTIL_DAY],
        source: Source::Rows(list(&["account_analytics"], "account_analytics_weekly", sql::WEEKLY, BY_WEEK)),
    },
    Route {
        path: "/v1/customers/{customer_id}/analytics/monthly",
        summary: "The same by calendar month.",
        subject: Subject::Accounts,
        parameters: &[FROM_DAY, UNTIL_DAY],
        source: Source::Rows(list(
            &["account_analytics"],
            "account_analytics_monthly",
            sql::MONTHLY,
            BY_MONTH,
        )),
    },
    Route {
        path: "/v1/accounts/{account_id}",
        summary: "An account with its balance.",
        subject: Subject::Accounts,
        parameters: &[],
        source: Source::Rows(one(&["account_balances"], Some("accounts"), sql::ACCOUNT)),
    },
    Route {
        path: "/v1/accounts/{account_id}/statement",
        summary: "Entries of an account, the newest first.",
        subject: Subject::Accounts,
        parameters: &[ENTRY_KIND, FROM, UNTIL],
        source: Source::Rows(Rows {
            stream: Some("accounts"),
            ..list(&["account_statement"], "account_statement", sql::STATEMENT, &[("entry", COUNT)])
        }),
    },
    Route {
        path: "/v1/campaigns",
        summary: "Campaigns with their statistics.",
        subject: Subject::Campaigns,
        parameters: &[of("status", Kind::OneOf(sql::CAMPAIGN_STATUSES), "Where the campaign stands.")],
        source: Source::Rows(list(
            &["campaign_stats"],
            "campaign_stats",
            sql::CAMPAIGNS,
            &[("campaign_id", Kind::Text)],
        )),
    },
    Route {
        path: "/v1/campaigns/{campaign_id}",
        summary: "A campaign with its statistics.",
        subject: Subject::Campaigns,
        parameters: &[],
        source: Source::Rows(one(&["campaign_stats"], Some("campaigns"), sql::CAMPAIGN)),
    },
    Route {
        path: "/v1/segments/{segment_id}/preview",
        summary: "How many customers a segment has now, and the first of them.",
        subject: Subject::Campaigns,
        parameters: &[
            of(
                "channel",
                Kind::OneOf(&["email", "sms"]),
                "The channel for which customers must have an address; `email` by default.",
            ),
            super::route::LIMIT,
        ],
        source: Source::Segment,
    },
    Route {
        path: "/v1/analytics/sales",
        summary: "What was sold by day and category, the newest first.",
        subject: Subject::Analytics,
        parameters: &[CURRENCY, FROM_DAY, UNTIL_DAY],
        source: Source::Rows(list(
            &["sales_daily"],
            "sales_daily",
            sql::SALES,
            &[("day", Kind::Date), ("category", Kind::Text), ("currency", Kind::Text)],
        )),
    },
    Route {
        path: "/v1/analytics/revenue/by-month",
        summary: "Revenue by month and category, the newest first.",
        subject: Subject::Analytics,
        parameters: &[CURRENCY, FROM_DAY, UNTIL_DAY],
        source: Source::Rows(list(
            &["revenue_daily"],
            "revenue_by_month",
            sql::REVENUE_BY_MONTH,
            &[("month", Kind::Date), ("category", Kind::Text), ("currency", Kind::Text)],
        )),
    },
    Route {
        path: "/v1/analytics/revenue/by-country",
        summary: "Revenue by year and country, the newest first.",
        subject: Subject::Analytics,
        parameters: &[CURRENCY, FROM_DAY, UNTIL_DAY],
        source: Source::Rows(list(
            &["revenue_daily"],
            "revenue_by_country",
            sql::REVENUE_BY_COUNTRY,
            &[
                ("year", Kind::Integer { min: 1, max: 9_999 }),
                ("country", Kind::Text),
                ("currency", Kind::Text),
            ],
        )),
    },
    Route {
        path: "/v1/analytics/revenue/by-product",
        summary: "Revenue by month, week and product, the newest first.",
        subject: Subject::Analytics,
        parameters: &[CURRENCY, FROM_DAY, UNTIL_DAY],
        source: Source::Rows(list(
            &["revenue_daily"],
            "revenue_by_product",
            sql::REVENUE_BY_PRODUCT,
            &[
                ("month", Kind::Date),
                ("week", Kind::Date),
                ("product_id", Kind::Text),
                ("currency", Kind::Text),
            ],
        )),
    },
    Route {
        path: "/v1/analytics/fulfilment",
        summary: "Orders by day and outcome, and how long their fulfilment took; the newest first.",
        subject: Subject::Analytics,
        parameters: &[FROM_DAY, UNTIL_DAY],
        source: Source::Rows(list(
            &["orders"],
            "fulfilment_daily",
            sql::FULFILMENT,
            &[("day", Kind::Date), ("outcome", Kind::Text)],
        )),
    },
    Route {
        path: "/v1/analytics/top-customers",
        summary: "Customers by revenue, ranked in each currency.",
        subject: Subject::Analytics,
        parameters: &[CURRENCY],
        source: Source::Rows(list(
            &["customer_revenue_daily", "customers"],
            "top_customers",
            sql::TOP_CUSTOMERS,
            &[("currency", Kind::Text), ("rank", COUNT), ("customer_id", Kind::Text)],
        )),
    },
];

const COUNT: Kind = Kind::Integer { min: 0, max: i64::MAX };
const UNITS: Kind = COUNT;
const FROM: Parameter = of("from", Kind::Time, "From this time on.");
const UNTIL: Parameter = of("until", Kind::Time, "Before this time.");
const FROM_DAY: Parameter = of("from", Kind::Date, "Periods that begin on this day or later.");
const UNTIL_DAY: Parameter = of("until", Kind::Date, "Periods that begin before this day.");
const CURRENCY: Parameter = of("currency", Kind::Text, "The currency, ISO 4217.");
const ENTRY_KIND: Parameter = of("kind", Kind::OneOf(sql::ENTRY_KINDS), "What kind of entry.");

const BY_DAY: &[(&str, Kind)] =
    &[("day", Kind::Date), ("account_id", Kind::Text), ("currency", Kind::Text), ("kind", Kind::Text)];
const BY_WEEK: &[(&str, Kind)] =
    &[("week", Kind::Date), ("account_id", Kind::Text), ("currency", Kind::Text), ("kind", Kind::Text)];
const BY_MONTH: &[(&str, Kind)] =
    &[("month", Kind::Date), ("account_id", Kind::Text), ("currency", Kind::Text), ("kind", Kind::Text)];

const fn of(name: &'static str, kind: Kind, meaning: &'static str) -> Parameter {
    Parameter { name, kind, meaning }
}

/// The one row that the path names, by its own read model.
const fn one(views: &'static [&'static str], stream: Option<&'static str>, sql: &'static str) -> Rows {
    let of = match views {
        [of, ..] => of,
        [] => "",
    };
    Rows { views, of, stream, sql, shape: Shape::One }
}

/// A list of rows of an SQL view of a read model.
const fn list(
    views: &'static [&'static str],
    of: &'static str,
    sql: &'static str,
    by: &'static [(&'static str, Kind)],
) -> Rows {
    Rows { views, of, stream: None, sql, shape: Shape::List(by) }
}
