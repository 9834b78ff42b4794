//! The statements of queries: all SQL of the gateway, on the SQL views of the read side, with parameters. A parameter that was not
//! given is null.

/// Values of `status` of orders.
pub(crate) const ORDER_STATUSES: &[&str] = &["placed", "confirmed", "cancelled", "shipped", "delivered"];
/// Values of `status` of campaigns.
pub(crate) const CAMPAIGN_STATUSES: &[&str] = &["draft", "resolving", "launched", "failed"];
/// Values of `kind` of entries of accounts.
pub(crate) const ENTRY_KINDS: &[&str] = &["deposit", "withdrawal", "transfer_sent", "transfer_received"];

pub(crate) const PRODUCT: &str = "SELECT * FROM products WHERE product_id = $1";
pub(crate) const ORDER: &str = "SELECT * FROM orders WHERE order_id = $1";
pub(crate) const CUSTOMER: &str = "SELECT * FROM customers WHERE customer_id = $1";
pub(crate) const CUSTOMER_360: &str =
    "SELECT customer_id, document - 'as_of' AS document FROM customer_360 WHERE customer_id = $1";
pub(crate) const ACCOUNT: &str = "SELECT * FROM account_balances WHERE account_id = $1";
pub(crate) const CAMPAIGN: &str = "SELECT * FROM campaign_stats WHERE campaign_id = $1";

/// `short` comes with a later shape of the view: the one before serves until it is rebuilt. The lines keep their order. A product that is not known here has neither price nor stock.
pub(crate) const CART: &str = "
    SELECT cart_id, customer_id, currency, status, total, coalesce((to_jsonb(cart) ->> 'short')::boolean, false) AS short, order_id, created_at, checked_out_at, (
               SELECT coalesce(jsonb_agg(jsonb_build_object(
                          'product_id', line.product_id, 'product_name', line.product_name, 'quantity', line.quantity,
                          'unit_price', line.unit_price, 'amount', line.amount, 'short', coalesce(line.short, false), 'current_price', product.price,
                          'current_currency', product.currency, 'available', product.available,
                          'discontinued', product.discontinued) ORDER BY line.place), '[]')
               FROM ROWS FROM (jsonb_to_recordset(cart.lines) AS (
                        product_id text, product_name text, quantity bigint, unit_price bigint, amount bigint,
                        short boolean))
                    WITH ORDINALITY AS line (product_id, product_name, quantity, unit_price, amount, short, place)
               LEFT JOIN products AS product USING (product_id)
           ) AS lines, version, updated_at
    FROM carts AS cart WHERE cart_id = $1";

pub(crate) const ORDERS: &str = "
    SELECT * FROM orders
    WHERE customer_id = $1 AND ($2::text IS NULL OR status = $2)
      AND ($3::timestamptz IS NULL OR placed_at >= $3) AND ($4::timestamptz IS NULL OR placed_at < $4)
      AND ($5::timestamptz IS NULL OR (placed_at, order_id) < ($5, $6::text))
    ORDER BY placed_at DESC, order_id DESC LIMIT $7";

pub(crate) const HISTORY: &str = "
    SELECT * FROM customer_history
    WHERE customer_id = $1 AND ($2::text IS NULL OR kind = $2)
      AND ($3::timestamptz IS NULL OR at >= $3) AND ($4::timestamptz IS NULL OR at < $4)
      AND ($5::timestamptz IS NULL OR (at, entry_id) < ($5, $6::text))
    ORDER BY at DESC, entry_id DESC LIMIT $7";

pub(crate) const ACCOUNTS: &str = "
    SELECT * FROM account_balances
    WHERE customer_id = $1 AND ($2::text IS NULL OR account_id > $2)
    ORDER BY account_id LIMIT $3";

pub(crate) const STATEMENT: &str = "
    SELECT * FROM account_statement
    WHERE account_id = $1 AND ($2::text IS NULL OR kind = $2)
      AND ($3::timestamptz IS NULL OR booked_at >= $3) AND ($4::timestamptz IS NULL OR booked_at < $4)
      AND ($5::bigint IS NULL OR entry < $5)
    ORDER BY entry DESC LIMIT $6";

pub(crate) const TRANSACTIONS: &str = "
    SELECT * FROM customer_transactions
    WHERE customer_id = $1 AND ($2::text IS NULL OR kind = $2)
      AND ($3::timestamptz IS NULL OR booked_at >= $3) AND ($4::timestamptz IS NULL OR booked_at < $4)
      AND ($5::timestamptz IS NULL OR (booked_at, account_id, entry) < ($5, $6::text, $7::bigint))
    ORDER BY booked_at DESC, account_id DESC, entry DESC LIMIT $8";

pub(crate) const DAILY: &str = "
    SELECT * FROM account_analytics
    WHERE customer_id = $1 AND ($2::date IS NULL OR day >= $2) AND ($3::date IS NULL OR day < $3)
      AND ($4::date IS NULL OR (day, account_id, currency, kind) < ($4, $5::text, $6::text, $7::text))
    ORDER BY day DESC, account_id DESC, currency DESC, kind DESC LIMIT $8";

pub(crate) const WEEKLY: &str = "
    SELECT * FROM account_analytics_weekly
    WHERE customer_id = $1 AND ($2::date IS NULL OR week >= $2) AND ($3::date IS NULL OR week < $3)
      AND ($4::date IS NULL OR (week, account_id, currency, kind) < ($4, $5::text, $6::text, $7::text))
    ORDER BY week DESC, account_id DESC, currency DESC, kind DESC LIMIT $8";

pub(crate) const MONTHLY: &str = "
    SELECT * FROM account_analytics_monthly
    WHERE customer_id = $1 AND ($2::date IS NULL OR month >= $2) AND ($3::date IS NULL OR month < $3)
      AND ($4::date IS NULL OR (month, account_id, currency, kind) < ($4, $5::text, $6::text, $7::text))
    ORDER BY month DESC, account_id DESC, currency DESC, kind DESC LIMIT $8";

pub(crate) const CAMPAIGNS: &str = "
    SELECT * FROM campaign_stats
    WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR campaign_id > $2)
    ORDER BY campaign_id LIMIT $3";

pub(crate) const SALES: &str = "
    SELECT * FROM sales_daily
    WHERE ($1::text IS NULL OR currency = $1) AND ($2::date IS NULL OR day >= $2) AND ($3::date IS NULL OR day < $3)
      AND ($4::date IS NULL OR (day, category, currency) < ($4, $5::text, $6::text))
    ORDER BY day DESC, category DESC, currency DESC LIMIT $7";

pub(crate) const REVENUE_BY_MONTH: &str = "
    SELECT * FROM revenue_by_month
    WHERE ($1::text IS NULL OR currency = $1) AND ($2::date IS NULL OR month >= $2) AND ($3::date IS NULL OR month < $3)
      AND ($4::date IS NULL OR (month, category, currency) < ($4, $5::text, $6::text))
    ORDER BY month DESC, category DESC, currency DESC LIMIT $7";

pub(crate) const REVENUE_BY_COUNTRY: &str = "
    SELECT * FROM revenue_by_country
    WHERE ($1::text IS NULL OR currency = $1)
      AND ($2::date IS NULL OR make_date(year, 1, 1) >= $2) AND ($3::date IS NULL OR make_date(year, 1, 1) < $3)
      AND ($4::bigint IS NULL OR (year, country, currency) < ($4, $5::text, $6::text))
    ORDER BY year DESC, country DESC, currency DESC LIMIT $7";

pub(crate) const REVENUE_BY_PRODUCT: &str = "
    SELECT * FROM revenue_by_product
    WHERE ($1::text IS NULL OR currency = $1) AND ($2::date IS NULL OR month >= $2) AND ($3::date IS NULL OR month < $3)
      AND ($4::date IS NULL OR (month, week, product_id, currency) < ($4, $5::date, $6::text, $7::text))
    ORDER BY month DESC, week DESC, product_id DESC, currency DESC LIMIT $8";

pub(crate) const FULFILMENT: &str = "
    SELECT * FROM fulfilment_daily
    WHERE ($1::date IS NULL OR day >= $1) AND ($2::date IS NULL OR day < $2)
      AND ($3::date IS NULL OR (day, outcome) < ($3, $4::text))
    ORDER BY day DESC, outcome DESC LIMIT $5";

pub(crate) const TOP_CUSTOMERS: &str = "
    SELECT * FROM top_customers
    WHERE ($1::text IS NULL OR currency = $1)
      AND ($2::text IS NULL OR (currency, rank, customer_id) > ($2, $3::bigint, $4::text))
    ORDER BY currency, rank, customer_id LIMIT $5";

/// The rules of a segment.
pub(crate) const SEGMENT: &str = "SELECT rules FROM segments WHERE segment_id = $1";
