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
    let options = PgConnectOptions::from_str(url)?.application_name("millrace").options([
        ("search_path", namespace.database_schema().to_owned()),
        ("transaction_timeout", format!("{}ms", transaction_timeout.as_millis())),
        ("tcp_keepalives_idle", "10".to_owned()),
        // Plans made for a small table must not outlive its growth within one batch.
        ("plan_cache_mode", "force_custom_plan".to_owned()),
        // Every statement of the loop finds its rows by an index. A table that grows faster than it is analysed looks
        // small to the planner, which would then read or hash all of it for every batch.
        ("enable_seqscan", "off".to_owned()),
        ("enable_hashjoin", "off".to_owned()),
        ("enable_mergejoin", "off".to_owned()),
        ("enable_material", "off".to_owned()),
    ]);
    let pool = PgPoolOptions::new().max_connections(connections_max).acquire_timeout(Duration::from_secs(5));
    Ok(pool.connect_lazy_with(options))
}
