//! Two generations of a group: whether one has caught up with the other, and one that begins at the offsets of the other.

use std::time::Duration;

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, PgExecutor, Postgres};

use super::Stand;
use crate::columns::bind_columns;
use crate::database::milliseconds;
use crate::statements::statements;

statements! {
    /// A record of a former topic, whose offset is shifted below zero, is not in Kafka any more: what of it is missing
    /// `millrace verify --repair` emits again, behind all others.
    STAND_AS = "INSERT INTO consumer_offset (grp, generation, topic, partition, epoch, applied, published, topic_id)
             SELECT o.grp, $3, o.topic, o.partition, 0, stand.applied, least(stand.applied, coalesce(p.applied, 0)),
                    o.topic_id
             FROM consumer_offset AS o
             LEFT JOIN UNNEST($5::text[], $6::int[], $7::bigint[]) AS p(topic, partition, applied)
                 ON p.topic = o.topic AND p.partition = o.partition
             CROSS JOIN LATERAL (
                 SELECT least(o.applied, min(waiting.\"offset\")) AS applied FROM parked AS waiting
                 WHERE waiting.grp = o.grp AND waiting.generation = o.generation AND waiting.topic = o.topic
                   AND waiting.partition = o.partition AND waiting.drained_offset IS NULL AND waiting.\"offset\" >= 0
             ) AS stand
             WHERE o.grp = $1 AND o.generation = $2 AND o.topic = ANY($4)";
    /// Topics count that the serving one reads, and those whose ends are given, which it does not read: there the built one has to come
    /// to the end, and may go on.
    POSITION = "WITH stand AS (
                 SELECT topic, partition, generation, applied, published FROM consumer_offset
                 WHERE grp = $1 AND generation IN ($2, $3) AND topic = ANY($4)),
             s AS (
                 SELECT topic, partition, applied, published, NULL::bigint AS ends_at FROM stand WHERE generation = $2
                 UNION ALL
                 SELECT topic, partition, ends_at, ends_at, ends_at
                 FROM UNNEST($6::text[], $7::int[], $8::bigint[]) AS of_the_built_one(topic, partition, ends_at)
                 WHERE topic NOT IN (SELECT topic FROM stand WHERE generation = $2)),
             b AS (SELECT * FROM stand WHERE generation = $3 AND topic IN (SELECT topic FROM s))
             SELECT coalesce(sum(s.applied), 0)::bigint, coalesce(sum(least(b.applied, s.ends_at)), 0)::bigint,
                    coalesce(sum(greatest(coalesce(s.applied, 0) - coalesce(b.applied, 0), 0)), 0)::bigint,
                    count(*) FILTER (WHERE CASE WHEN s.ends_at IS NULL THEN s.applied IS DISTINCT FROM b.applied
                                                ELSE coalesce(b.applied, 0) < s.ends_at END),
                    coalesce(sum(s.applied - s.published) FILTER (WHERE $5), 0)::bigint
                        + coalesce(sum(greatest(least(b.applied, s.ends_at) - b.published, 0)), 0)::bigint,
                    (SELECT count(*) FROM blocked_key
                     WHERE grp = $1 AND generation IN ($2, $3) AND status = 'retrying')
             FROM s FULL JOIN b USING (topic, partition)";
    LOCK = "SELECT FROM consumer_offset WHERE grp = $1 AND generation IN ($2, $3) AND topic = ANY($4)
                    ORDER BY topic, partition, generation FOR UPDATE";
    PAUSE = "UPDATE consumer_offset AS o
             SET pause_at = furthest.applied, paused_until = clock_timestamp() + $5 * interval '1 ms'
             FROM (SELECT topic, partition, max(applied) AS applied FROM consumer_offset
                   WHERE grp = $1 AND generation IN ($2, $3) AND topic = ANY($4)
                   GROUP BY 1, 2 HAVING bool_or(generation = $2)) AS furthest
             WHERE grp = $1 AND generation IN ($2, $3)
               AND o.topic = furthest.topic AND o.partition = furthest.partition";
    RESUME = "UPDATE consumer_offset SET pause_at = NULL, paused_until = NULL
                       WHERE grp = $1 AND generation = $2 AND topic = ANY($3) AND pause_at IS NOT NULL";
    PAUSE_AT_SERVING = "UPDATE consumer_offset AS o SET pause_at = other.reached, paused_until = clock_timestamp() + interval '1 min'
             FROM (SELECT b.topic, b.partition, s.applied AS reached FROM consumer_offset AS b
                   JOIN consumer_offset AS s USING (grp, topic, partition)
                   WHERE b.grp = $1 AND s.generation = $2 AND b.generation = $3 AND b.topic = ANY($4)
                     AND (b.pause_at IS DISTINCT FROM s.applied OR b.paused_until < clock_timestamp() + interval '30 s')
                   FOR UPDATE OF b SKIP LOCKED) AS other
             WHERE o.grp = $1 AND o.generation = $3 AND o.topic = other.topic AND o.partition = other.partition";
}

/// Gives a generation of a group the offsets of the serving one in some topics, or earlier ones where a record waits;
/// documents were published up to `published`.
///
/// # Errors
/// The database's.
pub async fn stand_as(
    connection: &mut PgConnection,
    (group, serving, next): (&str, i32, i32),
    topics: &[String],
    published: &[Stand],
) -> sqlx::Result<()> {
    let stand = sqlx::query(STAND_AS).bind(group).bind(serving).bind(next).bind(topics);
    let stand = bind_columns!(stand, published, stand => stand.0.as_str(), stand.1, stand.2);
    stand.execute(connection).await.map(|_| ())
}

/// Two generations of a group and the topics that they read.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'p> {
    /// The group.
    pub group: &'p str,
    /// The generation that serves.
    pub serving: i32,
    /// The other one.
    pub building: i32,
    /// The topics that the built one reads.
    pub topics: &'p [String],
    /// Where those of them end that the serving one does not read. One that neither it reads nor is here does not count.
    pub ends: &'p [Stand],
}

/// How far the built one of two generations has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// Offsets that the serving generation has applied, summed.
    pub goal: i64,
    /// Those of the built one.
    pub applied: i64,
    /// Records that the serving one has applied and the built one has not.
    pub behind: i64,
    /// Partitions in which the two have different offsets.
    pub differing: i64,
    /// Applied records of either whose documents may be missing and are compared, or needed for the swap.
    pub unpublished: i64,
    /// Keys of either whose record is to be tried again.
    pub retrying: i64,
}

impl Position {
    /// Whether both have had the same records, and nothing of them is still to come.
    pub fn is_caught_up(&self) -> bool {
        self.differing == 0 && self.unpublished == 0 && self.retrying == 0
    }
}

impl Pair<'_> {
    /// How far the building one has come; `documents`: whether the serving one's documents are compared, too.
    ///
    /// # Errors
    /// The database's.
    pub async fn position(&self, connection: &mut PgConnection, documents: bool) -> sqlx::Result<Position> {
        let position = sqlx::query_as(POSITION).bind(self.group).bind(self.serving).bind(self.building);
        let position = position.bind(self.topics).bind(documents);
        let position = bind_columns!(position, self.ends, end => end.0.as_str(), end.1, end.2);
        let (goal, applied, behind, differing, unpublished, retrying) =
            position.fetch_one(connection).await?;
        Ok(Position { goal, applied, behind, differing, unpublished, retrying })
    }

    /// Pauses both at the offsets of the further one, for at most so long, in the topics that both read. Locks first, then reads: inside
    /// a transaction.
    ///
    /// # Errors
    /// The database's.
    pub async fn pause(&self, connection: &mut PgConnection, at_most: Duration) -> sqlx::Result<()> {
        self.bound(LOCK).execute(&mut *connection).await?;
        self.bound(PAUSE).bind(milliseconds(at_most)).execute(connection).await.map(|_| ())
    }

    /// Removes the pause points of the serving one; the other keeps its own.
    ///
    /// # Errors
    /// The database's.
    pub async fn resume(&self, executor: impl PgExecutor<'_>) -> sqlx::Result<()> {
        resume(executor, self.group, self.serving, self.topics).await
    }

    /// Moves the pause points of the building one to the offsets of the serving one: if it were further, it could not be
    /// compared while the serving one makes no progress.
    ///
    /// # Errors
    /// The database's.
    pub async fn pause_at_serving(&self, executor: impl PgExecutor<'_>) -> sqlx::Result<()> {
        self.bound(PAUSE_AT_SERVING).execute(executor).await.map(|_| ())
    }

    fn bound(&self, sql: &'static str) -> Query<'static, Postgres, PgArguments> {
        sqlx::query(sql).bind(self.group).bind(self.serving).bind(self.building).bind(self.topics)
    }
}

/// Removes the pause points of a generation.
///
/// # Errors
/// The database's.
pub async fn resume(
    executor: impl PgExecutor<'_>,
    group: &str,
    generation: i32,
    topics: &[String],
) -> sqlx::Result<()> {
    sqlx::query(RESUME).bind(group).bind(generation).bind(topics).execute(executor).await.map(|_| ())
}
