//! The table `verified`: what was compared with the outbox and found right, so that a look costs what is new since.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};

use crate::statements::statements;

statements! {
    MARK = "SELECT mark FROM verified WHERE what = $1";
    SET = "INSERT INTO verified (what, mark) VALUES ($1, $2)
         ON CONFLICT (what) DO UPDATE SET mark = excluded.mark, verified_at = now()";
    WHEN = "SELECT what, verified_at FROM verified ORDER BY what";
    FORGET = "DELETE FROM verified WHERE what = $1";
    NOW = "SELECT clock_timestamp()";
    /// Those of other programs write nothing of ours. A transaction that has ended can be seen before its session says so.
    OPEN_SINCE = "SELECT EXISTS (SELECT FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = current_setting('application_name')
           AND pid <> pg_backend_pid() AND xact_start <= $1)";
}

/// Up to where something is verified; `None` when it is not, or by a build whose marks are unlike this one's.
///
/// # Errors
/// The database's, as of every function here.
pub async fn mark<M: DeserializeOwned>(executor: impl PgExecutor<'_>, what: &str) -> sqlx::Result<Option<M>> {
    let mark: Option<Json<serde_json::Value>> =
        sqlx::query_scalar(MARK).bind(what).fetch_optional(executor).await?;
    Ok(mark.and_then(|Json(mark)| serde_json::from_value(mark).ok()))
}

/// Writes down up to where something is verified.
///
/// # Errors
/// The database's.
pub async fn set<M: Serialize + Sync>(
    executor: impl PgExecutor<'_>,
    what: &str,
    mark: &M,
) -> sqlx::Result<()> {
    sqlx::query(SET).bind(what).bind(Json(mark)).execute(executor).await.map(|_| ())
}

/// What was found right, and when the last time.
///
/// # Errors
/// The database's.
pub async fn when(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<(String, DateTime<Utc>)>> {
    sqlx::query_as(WHEN).fetch_all(executor).await
}

/// Nothing of it is verified any more.
///
/// # Errors
/// The database's.
pub async fn forget(executor: impl PgExecutor<'_>, what: &str) -> sqlx::Result<()> {
    sqlx::query(FORGET).bind(what).execute(executor).await.map(|_| ())
}

/// The time on the database's clock.
///
/// # Errors
/// The database's.
pub async fn now(executor: impl PgExecutor<'_>) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar(NOW).fetch_one(executor).await
}

/// Whether a transaction of the instance is open that began at this time or before: it may still write rows that bear that time.
///
/// # Errors
/// The database's.
pub async fn is_open_since(connection: &mut PgConnection, time: DateTime<Utc>) -> sqlx::Result<bool> {
    sqlx::query_scalar(OPEN_SINCE).bind(time).fetch_one(connection).await
}
