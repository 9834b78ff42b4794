//! The table `verified`: the auditor's marks, up to which everything was compared with the outbox without findings.

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
    /// Sessions of other programs write none of these rows. A session may show a transaction shortly after it has become visible
    /// as ended.
    OPEN_SINCE = "SELECT EXISTS (SELECT FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = current_setting('application_name')
           AND pid <> pg_backend_pid() AND xact_start <= $1)";
}

/// The mark of a view or of the topics; `None` without a mark, or when a build with another format has written it.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn mark<M: DeserializeOwned>(executor: impl PgExecutor<'_>, what: &str) -> sqlx::Result<Option<M>> {
    let mark: Option<Json<serde_json::Value>> =
        sqlx::query_scalar(MARK).bind(what).fetch_optional(executor).await?;
    Ok(mark.and_then(|Json(mark)| serde_json::from_value(mark).ok()))
}

/// Stores a mark.
///
/// # Errors
/// Database errors.
pub async fn set<M: Serialize + Sync>(
    executor: impl PgExecutor<'_>,
    what: &str,
    mark: &M,
) -> sqlx::Result<()> {
    sqlx::query(SET).bind(what).bind(Json(mark)).execute(executor).await.map(|_| ())
}

/// The names of all marks, and when each was last set.
///
/// # Errors
/// Database errors.
pub async fn when(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<(String, DateTime<Utc>)>> {
    sqlx::query_as(WHEN).fetch_all(executor).await
}

/// Removes a mark.
///
/// # Errors
/// Database errors.
pub async fn forget(executor: impl PgExecutor<'_>, what: &str) -> sqlx::Result<()> {
    sqlx::query(FORGET).bind(what).execute(executor).await.map(|_| ())
}

/// The time on the database's clock.
///
/// # Errors
/// Database errors.
pub async fn now(executor: impl PgExecutor<'_>) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar(NOW).fetch_one(executor).await
}

/// Whether the instance has an open transaction that began at this time or before: it may still write rows with that time.
///
/// # Errors
/// Database errors.
pub async fn is_open_since(connection: &mut PgConnection, time: DateTime<Utc>) -> sqlx::Result<bool> {
    sqlx::query_scalar(OPEN_SINCE).bind(time).fetch_one(connection).await
}
