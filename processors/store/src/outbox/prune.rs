//! What retention removes: commands, rejections and outcomes, never events.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::prune::{Aged, Batch, reached};
use crate::statements::statements;
use crate::timestamp::Nearest;

/// Rows that are not events, are older than their retention and no longer needed: commands that are decided or whose dead letter
/// is discarded, rejections of commands that were decided longer ago, and outcomes, which have the time of the decision and no
/// `command_id`. Of the others `occurred_at` alone does not tell, since it is that of the producer's command. Each condition is a scalar subquery per row, which uses an index: for `EXISTS` the planner would hash the
/// whole ledger for each batch.
/// Of the table alone: archived events may be in one that inherits from it, and a `ctid` names a row of one table.
macro_rules! prunable {
    () => {
        "FROM ONLY outbox AS o
         WHERE o.version IS NULL AND o.occurred_at < $1 AND CASE WHEN starts_with(o.topic, current_schema() || '.cmd.')
             THEN (SELECT c.id FROM command AS c WHERE c.id = o.id::text AND c.source = '/' || current_schema()
                   AND (c.status <> 'dead' OR (
                       SELECT l.id FROM dead_letter AS l WHERE l.topic = c.topic AND l.partition = c.partition
                       AND l.\"offset\" = c.\"offset\" AND l.status <> 'discarded' LIMIT 1) IS NULL) LIMIT 1) IS NOT NULL
             ELSE (SELECT c.id FROM command AS c WHERE c.id = o.command_id AND c.context = o.aggregatetype
                   AND c.decided_at >= $1 LIMIT 1) IS NULL
             END"
    };
}

statements! {
    PRUNABLE = concat!("SELECT count(*), min(o.occurred_at) ", prunable!());
    HAS_PRUNABLE_ANSWERS = concat!("SELECT EXISTS (SELECT ", prunable!(), "
             AND NOT starts_with(o.topic, current_schema() || '.cmd.'))");
    PRUNE = concat!("DELETE FROM ONLY outbox WHERE ctid = ANY (ARRAY(
             SELECT o.ctid ", prunable!(), " AND o.occurred_at >= coalesce($2::timestamptz, '-infinity')
             ORDER BY o.occurred_at LIMIT $3 FOR UPDATE OF o SKIP LOCKED))
         RETURNING id, topic, occurred_at");
    PRUNE_SKIPPED = "DELETE FROM outbox_skipped WHERE id = ANY($1)";
    COUNT_PRUNED = "INSERT INTO outbox_pruned AS known (topic, rows)
         SELECT topic, count(*) FROM UNNEST($1::text[]) AS gone(topic) GROUP BY topic ORDER BY topic
         ON CONFLICT (topic) DO UPDATE SET rows = known.rows + excluded.rows";
}

/// The number and age of the rows that retention would remove.
///
/// # Errors
/// The database's.
pub async fn prunable(executor: impl PgExecutor<'_>, before: DateTime<Utc>) -> sqlx::Result<Aged> {
    sqlx::query_as(PRUNABLE).bind(before).fetch_one(executor).await.map(Aged::of)
}

/// Whether rejections or outcomes are among them: only Debezium's position shows whether those are in Kafka, while a decided
/// command has been read from there.
///
/// # Errors
/// The database's.
pub async fn has_prunable_answers(
    executor: impl PgExecutor<'_>,
    before: DateTime<Utc>,
) -> sqlx::Result<bool> {
    sqlx::query_scalar(HAS_PRUNABLE_ANSWERS).bind(before).fetch_one(executor).await
}

/// Removes a batch of them, the oldest first; returns how many, and the time that it has reached. If rejections or outcomes are
/// among them, Debezium must have confirmed everything that was committed before [`before`](Batch::before).
///
/// # Errors
/// The database's.
pub async fn prune(
    connection: &mut PgConnection,
    Batch { before, from, most }: Batch,
) -> sqlx::Result<(usize, Option<DateTime<Utc>>)> {
    let gone = sqlx::query_as(PRUNE).bind(before).bind(from).bind(most).fetch_all(&mut *connection);
    let gone: Vec<(Uuid, String, Nearest)> = gone.await?;
    let ids: Vec<Uuid> = gone.iter().map(|(id, ..)| *id).collect();
    sqlx::query(PRUNE_SKIPPED).bind(ids).execute(&mut *connection).await?;
    let topics: Vec<&str> = gone.iter().map(|(_, topic, _)| topic.as_str()).collect();
    sqlx::query(COUNT_PRUNED).bind(topics).execute(connection).await?;
    Ok((gone.len(), reached(gone.iter().map(|(.., at)| *at))))
}
