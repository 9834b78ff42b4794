//! The table `growth`: topics that were enlarged while they were in use.

use std::time::Duration;

use sqlx::PgExecutor;

use crate::statements::statements;

statements! {
    INSERT = "INSERT INTO growth (topic, first) VALUES ($1, $2)
         ON CONFLICT (topic, first) DO UPDATE SET held_until = NULL";
    NOT_ENLARGED = "SELECT DISTINCT topic FROM growth WHERE held_until IS NULL ORDER BY topic";
    ENLARGED = "UPDATE growth SET held_until = clock_timestamp() + make_interval(secs => $3)
         WHERE topic = $1 AND first < $2 AND held_until IS NULL";
}

/// Records that a topic will have partitions from `first` on. Written before they exist, so that none of them is claimed without
/// being held.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn insert(executor: impl PgExecutor<'_>, topic: &str, first: i32) -> sqlx::Result<()> {
    sqlx::query(INSERT).bind(topic).bind(first).execute(executor).await.map(|_| ())
}

/// The topics that are recorded to get more partitions.
///
/// # Errors
/// Database errors.
pub async fn not_enlarged(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(NOT_ENLARGED).fetch_all(executor).await
}

/// Begins the hold time, now that the topic has its new partitions.
///
/// # Errors
/// Database errors.
pub async fn enlarged(
    executor: impl PgExecutor<'_>,
    topic: &str,
    partitions: i32,
    hold: Duration,
) -> sqlx::Result<()> {
    let enlarged = sqlx::query(ENLARGED).bind(topic).bind(partitions).bind(hold.as_secs_f64());
    enlarged.execute(executor).await.map(|_| ())
}
