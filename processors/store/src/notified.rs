//! The table `notified`: the problems of which operators were told and whose end they were not told yet.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use crate::columns::bind_columns;
use crate::statements::statements;

statements! {
    ALL = "SELECT problem, level, since, told_at FROM notified ORDER BY problem";
    TELL = "INSERT INTO notified (problem, level, since) SELECT * FROM UNNEST($1::text[], $2::bigint[], $3::timestamptz[])
         ON CONFLICT (problem) DO UPDATE SET level = excluded.level, told_at = now()";
    LOWER = "UPDATE notified SET level = lower.level FROM UNNEST($1::text[], $2::bigint[]) AS lower(problem, level)
         WHERE notified.problem = lower.problem";
    FORGET = "DELETE FROM notified WHERE problem = ANY($1)";
}

/// A problem of which operators were told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notified {
    /// Its name.
    pub problem: String,
    /// The count that was told, or a lower one since.
    pub level: i64,
    /// When it was noticed.
    pub since: DateTime<Utc>,
    /// When it was last told.
    pub told_at: DateTime<Utc>,
}

/// All of them; there are as many as problems at one time.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn all(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<Notified>> {
    let rows: Vec<(String, i64, DateTime<Utc>, DateTime<Utc>)> =
        sqlx::query_as(ALL).fetch_all(executor).await?;
    let one = |(problem, level, since, told_at)| Notified { problem, level, since, told_at };
    Ok(rows.into_iter().map(one).collect())
}

/// Records that these were told now: problem, count, and when it was noticed.
///
/// # Errors
/// Database errors.
pub async fn tell(executor: impl PgExecutor<'_>, told: &[(&str, i64, DateTime<Utc>)]) -> sqlx::Result<()> {
    let tell = bind_columns!(sqlx::query(TELL), told, (problem, level, since) => *problem, *level, *since);
    tell.execute(executor).await.map(|_| ())
}

/// Records that the counts of these are lower.
///
/// # Errors
/// Database errors.
pub async fn lower(executor: impl PgExecutor<'_>, lower: &[(&str, i64)]) -> sqlx::Result<()> {
    let statement = bind_columns!(sqlx::query(LOWER), lower, (problem, level) => *problem, *level);
    statement.execute(executor).await.map(|_| ())
}

/// Forgets those that are over.
///
/// # Errors
/// Database errors.
pub async fn forget(executor: impl PgExecutor<'_>, problems: &[&str]) -> sqlx::Result<()> {
    sqlx::query(FORGET).bind(problems).execute(executor).await.map(|_| ())
}
