//! Connections to the two databases.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::names::Namespace;

/// Tables that both sides have.
pub const BOTH: &str = include_str!("sql/both.sql");
/// Tables of the write side.
pub const WRITE: &str = include_str!("sql/write.sql");
/// Tables of the read side, without the views' own.
pub const READ: &str = include_str!("sql/read.sql");

/// Every statement of the loop finds its rows by an index. A table that grows faster than it is analysed looks small to
/// the planner, which would then read, hash or join all of it for every batch.
const BY_INDEX: [(&str, &str); 4] = [
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_material", "off"),
];

/// A pool whose connections see the namespace's schema and end a transaction that outlives `transaction_timeout`, so
/// that a frozen process cannot hold locks for longer than its place in the group. Connects when first used.
///
/// # Errors
/// When the URL is not a Postgres URL.
pub fn pool(
    url: &str,
    namespace: &Namespace,
    transaction_timeout: Duration,
    connections_max: u32,
) -> Result<PgPool, sqlx::Error> {
    Ok(pool_with(options(url, namespace, transaction_timeout)?, connections_max))
}

/// As [`pool`], for workers: their statements go by indexes.
///
/// # Errors
/// As [`pool`].
pub fn worker_pool(
    url: &str,
    namespace: &Namespace,
    transaction_timeout: Duration,
    connections_max: u32,
) -> Result<PgPool, sqlx::Error> {
    Ok(pool_with(options(url, namespace, transaction_timeout)?.options(BY_INDEX), connections_max))
}

/// A duration as statements take it; more than fits is for ever.
pub fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn options(
    url: &str,
    namespace: &Namespace,
    transaction_timeout: Duration,
) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(PgConnectOptions::from_str(url)?.application_name("millrace").options([
        ("search_path", namespace.database_schema().to_owned()),
        ("transaction_timeout", format!("{}ms", transaction_timeout.as_millis())),
        ("tcp_keepalives_idle", "10".to_owned()),
        // Plans made for a small table must not outlive its growth within one batch.
        ("plan_cache_mode", "force_custom_plan".to_owned()),
    ]))
}

fn pool_with(options: PgConnectOptions, connections_max: u32) -> PgPool {
    let pool = PgPoolOptions::new().max_connections(connections_max).acquire_timeout(Duration::from_secs(5));
    pool.connect_lazy_with(options)
}
