//! The table `pruned`: the offsets below which retention has removed ledger rows of the write side's groups.
//!
//! A mark is written in the transaction that removes the rows, after [`lock`]; a reset takes the same lock. So each sees the
//! effect of the other.

use sqlx::{PgConnection, PgExecutor};

use crate::Place;
use crate::columns::bind_columns;
use crate::statements::statements;

statements! {
    LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('millrace pruned ' || current_schema(), 0))";
    MARK = "INSERT INTO pruned AS known (grp, topic, partition, topic_id, below)
         SELECT $1, gone.topic, gone.partition, o.topic_id, max(gone.\"offset\") + 1
         FROM UNNEST($2::text[], $3::int[], $4::bigint[]) AS gone(topic, partition, \"offset\")
         LEFT JOIN consumer_offset AS o ON o.grp = $1 AND o.generation = 1 AND o.topic = gone.topic AND o.partition = gone.partition
         GROUP BY 1, 2, 3, 4
         ON CONFLICT (grp, topic, partition) DO UPDATE
         SET at = now(), topic_id = excluded.topic_id,
             below = greatest(excluded.below, CASE WHEN coalesce(known.topic_id = excluded.topic_id, true) THEN known.below END)";
    MARKS = "SELECT p.topic, p.partition, p.below FROM pruned AS p
         JOIN consumer_offset AS o ON o.grp = p.grp AND o.generation = 1 AND o.topic = p.topic AND o.partition = p.partition
                                  AND coalesce(o.topic_id = p.topic_id, true)
         WHERE p.grp = $1";
}

/// Waits until no other transaction removes rows or resets a group, and excludes both until this transaction ends.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn lock(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query(LOCK).execute(connection).await.map(|_| ())
}

/// Records that a group's ledger rows of these records are removed.
///
/// # Errors
/// Database errors.
pub async fn mark(connection: &mut PgConnection, group: &str, gone: &[Place]) -> sqlx::Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    let mark = sqlx::query(MARK).bind(group);
    let mark = bind_columns!(mark, gone, place => place.topic.as_str(), place.partition, place.offset);
    mark.execute(connection).await.map(|_| ())
}

/// Topic, partition, and the offset below which ledger rows of a group were removed.
///
/// # Errors
/// Database errors.
pub async fn marks(executor: impl PgExecutor<'_>, group: &str) -> sqlx::Result<Vec<(String, i32, i64)>> {
    sqlx::query_as(MARKS).bind(group).fetch_all(executor).await
}
