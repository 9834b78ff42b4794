//! What retention removes: letters that were settled long ago.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use crate::Place;
use crate::prune::Aged;
use crate::statements::statements;

/// Letters that were settled long ago. A discarded one says what becomes of its record: on the write side (`$2`) until the group
/// is past it and its mark says the same, on the read side as long as its generation has a place in a stream that no one folds.
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

/// How many letters there are that retention removes. On the write side, `ledger`, a discarded letter answers for its record.
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

/// A letter that is gone: its group, where its record lay, and whether it was discarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// The group.
    pub group: String,
    /// The record.
    pub place: Place,
    /// It answered for its record.
    pub discarded: bool,
}

/// Removes some of them, those first that were settled first.
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
