//! Held partitions: those that were added to a topic, until the records of the lower partitions are applied.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use crate::statements::statements;
use crate::timestamp::Nearest;

statements! {
    HELD = "SELECT o.grp, o.topic, o.held_below, min(o.partition), max(o.partition), min(g.held_until),
                coalesce(bool_and(g.held_until < clock_timestamp()), false)
         FROM consumer_offset AS o LEFT JOIN growth AS g ON g.topic = o.topic AND g.first = o.held_below
         WHERE o.held_below IS NOT NULL AND ($1::text IS NULL OR o.grp = $1)
         GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";
    LET_GO = "UPDATE consumer_offset AS o SET pause_at = NULL, paused_until = NULL, held_below = NULL
         FROM (SELECT generation, partition FROM consumer_offset WHERE grp = $1 AND topic = $2 AND held_below = $3
               ORDER BY partition, generation FOR NO KEY UPDATE) AS held
         WHERE o.grp = $1 AND o.generation = held.generation AND o.topic = $2 AND o.partition = held.partition";
}

/// Partitions that were added to a topic together and are held by a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partitions below this one must be applied first.
    pub below: i32,
    /// The first claimed one of them.
    pub first: i32,
    /// The last claimed one of them.
    pub last: i32,
    /// The end of the hold time, until which producers may still use the former number of partitions; `None` while the topic is
    /// not enlarged.
    pub until: Option<DateTime<Utc>>,
    /// Whether the hold time is over.
    pub is_over: bool,
}

/// The held partitions of a group, or of all groups.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn held(executor: impl PgExecutor<'_>, group: Option<&str>) -> sqlx::Result<Vec<Held>> {
    type Row = (String, String, i32, i32, i32, Option<Nearest>, bool);
    let rows: Vec<Row> = sqlx::query_as(HELD).bind(group).fetch_all(executor).await?;
    let held = |(group, topic, below, first, last, until, is_over): Row| {
        let until = until.map(|Nearest(until)| until);
        Held { group, topic, below, first, last, until, is_over }
    };
    Ok(rows.into_iter().map(held).collect())
}

/// Releases held partitions.
///
/// # Errors
/// Database errors.
pub async fn let_go(executor: impl PgExecutor<'_>, held: &Held) -> sqlx::Result<()> {
    let let_go = sqlx::query(LET_GO).bind(&held.group).bind(&held.topic).bind(held.below);
    let_go.execute(executor).await.map(|_| ())
}
