//! What retention removes: letters that were settled long ago.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use crate::Place;
use crate::prune::Aged;
use crate::statements::statements;

/// Dead letters that were settled longer ago than their retention. A discarded one is needed to skip its record: on the write
/// side (`$2`) until the group is past it and the mark covers it, on the read side as long as its generation has a gap in a
/// stream because of it.
macro_rules! prunable {
    () => {
        "FROM dead_letter AS l
         WHERE l.status <> 'dead' AND coalesce(l.settled_at, l.failed_at) < $1
           AND (l.status = 'redriven' OR CASE WHEN $2
                THEN EXISTS (SELECT FROM consumer_offset AS o
                             WHERE o.grp = l.grp AND o.generation = l.generation AND o.topic = l.topic
                               AND o.partition = l.partition AND o.applied > l.\"offset\")
                ELSE l.version IS NULL OR l.key IS NULL OR NOT EXISTS (
                    SELECT FROM consumer_offset AS o WHERE o.grp = l.grp AND o.generation = l.generation) END)"
    };
}

statements! {
    PRUNABLE = concat!("SELECT count(*), min(l.failed_at) ", prunable!());
    PRUNE = concat!("DELETE FROM dead_letter WHERE id IN (
             SELECT l.id ", prunable!(), " ORDER BY coalesce(l.settled_at, l.failed_at) LIMIT $3 FOR UPDATE OF l SKIP LOCKED)
         RETURNING grp, topic, partition, \"offset\", status");
}

/// The number and age of the dead letters that retention would remove. `ledger`: on the write side, where a discarded letter is
/// needed to skip its record.
///
/// # Errors
/// The database's.
pub async fn prunable(
    executor: impl PgExecutor<'_>,
    before: DateTime<Utc>,
    ledger: bool,
) -> sqlx::Result<Aged> {
    sqlx::query_as(PRUNABLE).bind(before).bind(ledger).fetch_one(executor).await.map(Aged::of)
}

/// A removed dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// The group.
    pub group: String,
    /// The record.
    pub place: Place,
    /// Whether it was discarded.
    pub discarded: bool,
}

/// Removes a batch of them, those that were settled first.
///
/// # Errors
/// The database's.
pub async fn prune(
    connection: &mut PgConnection,
    before: DateTime<Utc>,
    ledger: bool,
    most: i64,
) -> sqlx::Result<Vec<Gone>> {
    let gone = sqlx::query_as(PRUNE).bind(before).bind(ledger).bind(most).fetch_all(connection);
    let gone: Vec<(String, String, i32, i64, String)> = gone.await?;
    let letter = |(group, topic, partition, offset, status)| Gone {
        group,
        place: Place { topic, partition, offset },
        discarded: status == "discarded",
    };
    Ok(gone.into_iter().map(letter).collect())
}
