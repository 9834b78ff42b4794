//! Partitions that were added to a topic: held until all that was sent to the ones below them is applied.

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
    LET_GO = "UPDATE consumer_offset SET pause_at = NULL, paused_until = NULL, held_below = NULL
         WHERE grp = $1 AND topic = $2 AND held_below = $3";
}

/// Partitions that were added to a topic at once, and that a group holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// What is in the partitions below this one comes first.
    pub below: i32,
    /// The first of them that was claimed.
    pub first: i32,
    /// The last of them that was claimed.
    pub last: i32,
    /// Until when senders may still take a lower partition for what belongs to these; `None` while the topic is not enlarged.
    pub until: Option<DateTime<Utc>>,
    /// Whether that is past.
    pub is_over: bool,
}

/// What a group holds, or all groups do.
///
/// # Errors
/// The database's, as of every function here.
pub async fn held(executor: impl PgExecutor<'_>, group: Option<&str>) -> sqlx::Result<Vec<Held>> {
    type Row = (String, String, i32, i32, i32, Option<Nearest>, bool);
    let rows: Vec<Row> = sqlx::query_as(HELD).bind(group).fetch_all(executor).await?;
    let held = |(group, topic, below, first, last, until, is_over): Row| {
        let until = until.map(|Nearest(until)| until);
        Held { group, topic, below, first, last, until, is_over }
    };
    Ok(rows.into_iter().map(held).collect())
}

/// Holds them no longer.
///
/// # Errors
/// The database's.
pub async fn let_go(executor: impl PgExecutor<'_>, held: &Held) -> sqlx::Result<()> {
    let let_go = sqlx::query(LET_GO).bind(&held.group).bind(&held.topic).bind(held.below);
    let_go.execute(executor).await.map(|_| ())
}
