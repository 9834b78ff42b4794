//! What retention removes: letters that were settled long ago.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use crate::Place;
use crate::columns::bind_columns;
use crate::prune::{Aged, Batch, reached};
use crate::statements::statements;
use crate::timestamp::Nearest;

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
    PRUNE = concat!("DELETE FROM dead_letter WHERE ctid = ANY (ARRAY(
             SELECT l.ctid ", prunable!(), " AND coalesce(l.settled_at, l.failed_at) >= coalesce($3::timestamptz, '-infinity')
             ORDER BY coalesce(l.settled_at, l.failed_at) LIMIT $4 FOR UPDATE OF l SKIP LOCKED))
         RETURNING grp, topic, partition, \"offset\", status, coalesce(settled_at, failed_at)");
    FIRST_COPIES = "SELECT asked.topic, asked.grp, asked.partition, first.copy_offset
         FROM UNNEST($1::text[], $2::text[], $3::int[]) AS asked(topic, grp, partition) CROSS JOIN LATERAL (
             SELECT copy_offset FROM dead_letter
             WHERE topic = asked.topic AND grp = asked.grp AND copy_partition = asked.partition AND copy_offset IS NOT NULL
             ORDER BY copy_offset LIMIT 1) AS first";
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

/// Copies of dead letters on one partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CopiesOf {
    /// The topic of the letters.
    pub topic: String,
    /// The group of the letters.
    pub group: String,
    /// The partition of the copies on the dead letter topic of both.
    pub partition: i32,
}

/// The offset of the first copy that a letter names, for those of these partitions of which a letter names one.
///
/// # Errors
/// The database's.
pub async fn first_copies(
    executor: impl PgExecutor<'_>,
    asked: &[&CopiesOf],
) -> sqlx::Result<Vec<(CopiesOf, i64)>> {
    let first = bind_columns!(sqlx::query_as(FIRST_COPIES), asked, of => of.topic.as_str(), of.group.as_str(), of.partition);
    let first: Vec<(String, String, i32, i64)> = first.fetch_all(executor).await?;
    let of = |(topic, group, partition, offset)| (CopiesOf { topic, group, partition }, offset);
    Ok(first.into_iter().map(of).collect())
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

/// Removes a batch of them, those that were settled first; returns them, and the time that it has reached.
///
/// # Errors
/// The database's.
pub async fn prune(
    connection: &mut PgConnection,
    ledger: bool,
    Batch { before, from, most }: Batch,
) -> sqlx::Result<(Vec<Gone>, Option<DateTime<Utc>>)> {
    let gone = sqlx::query_as(PRUNE).bind(before).bind(ledger).bind(from).bind(most).fetch_all(connection);
    let gone: Vec<(String, String, i32, i64, String, Nearest)> = gone.await?;
    let last = reached(gone.iter().map(|(.., at)| *at));
    let letter = |(group, topic, partition, offset, status, _): (_, _, _, _, String, _)| Gone {
        group,
        place: Place { topic, partition, offset },
        discarded: status == "discarded",
    };
    Ok((gone.into_iter().map(letter).collect(), last))
}
