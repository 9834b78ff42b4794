//! Waiting for a condition, never for a time.

use sqlx::PgPool;

pub use millrace_testkit::{as_long_as_it_moves, eventually};

/// Waits until a query of one number has this result.
///
/// # Panics
/// When it takes too long, with the last result.
pub async fn becomes(pool: &PgPool, sql: &'static str, expected: i64) {
    eventually(&format!("{expected} of {sql}"), async || {
        let found: Result<i64, sqlx::Error> = sqlx::query_scalar(sql).fetch_one(pool).await;
        match found.map_err(|error| error.to_string())? {
            found if found == expected => Ok(()),
            found => Err(found.to_string()),
        }
    })
    .await;
}
