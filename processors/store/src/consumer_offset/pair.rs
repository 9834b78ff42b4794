//! Two generations of a group: whether one has caught up with the other, and the start of one at the offsets of the other.

use std::time::Duration;

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, PgExecutor, Postgres};

use super::Stand;
use crate::columns::bind_columns;
use crate::database::milliseconds;
use crate::statements::statements;

statements! {
    /// A record of a deleted topic, whose offset is shifted below zero, is no longer in Kafka: `millrace verify --repair` writes
    /// what is missing of it again, after all other records.
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
    /// Counts the topics that the serving generation reads, and those with given ends, which it does not read: there the building
    /// one must reach the end, and may be beyond it.
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
                    ORDER BY topic COLLATE \"C\", partition, generation FOR UPDATE";
    /// A pause of the building generation that is to last longer stays as long: without it that one would pass the serving one.
    PAUSE = "UPDATE consumer_offset AS o
             SET pause_at = furthest.applied,
                 paused_until = greatest(clock_timestamp() + $5 * interval '1 ms',
                                         CASE WHEN o.generation = $3 THEN o.paused_until END)
             FROM (SELECT topic, partition, max(applied) AS applied FROM consumer_offset
                   WHERE grp = $1 AND generation IN ($2, $3) AND topic = ANY($4)
                   GROUP BY 1, 2 HAVING bool_or(generation = $2)) AS furthest
             WHERE grp = $1 AND generation IN ($2, $3)
               AND o.topic = furthest.topic AND o.partition = furthest.partition";
    RESUME = "UPDATE consumer_offset AS o SET pause_at = NULL, paused_until = NULL
             FROM (SELECT topic, partition FROM consumer_offset
                   WHERE grp = $1 AND generation = $2 AND topic = ANY($3) AND pause_at IS NOT NULL
                   ORDER BY topic COLLATE \"C\", partition FOR NO KEY UPDATE) AS paused
             WHERE o.grp = $1 AND o.generation = $2 AND o.topic = paused.topic AND o.partition = paused.partition";
}

/// For the read side only, which has the table `replay`. A generation that serves meanwhile is not paused: its row is locked, so
/// that a swap comes before or after.
pub(crate) const PAUSE_AT_SERVING: &str = "UPDATE consumer_offset AS o
             SET pause_at = other.reached, paused_until = clock_timestamp() + interval '1 min'
             FROM (SELECT b.topic, b.partition, s.applied AS reached FROM consumer_offset AS b
                   JOIN consumer_offset AS s USING (grp, topic, partition)
                   JOIN replay AS r ON b.grp = current_schema() || '.' || r.view AND b.generation = r.generation
                   WHERE b.grp = $1 AND s.generation = $2 AND b.generation = $3 AND b.topic = ANY($4)
                     AND r.state = 'building'
                     AND (b.pause_at IS DISTINCT FROM s.applied OR b.paused_until < clock_timestamp() + interval '30 s')
                   FOR UPDATE OF b SKIP LOCKED FOR SHARE OF r SKIP LOCKED) AS other
             WHERE o.grp = $1 AND o.generation = $3 AND o.topic = other.topic AND o.partition = other.partition";

/// Gives a generation of a group the offsets of the serving one in some topics, or earlier ones if a record waits; documents are
/// published up to `published`.
///
/// # Errors
/// Database errors.
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
    /// The topics that the building one reads.
    pub topics: &'p [String],
    /// The ends of those topics that the serving generation does not read. A topic that it does not read and that is not here is
    /// ignored.
    pub ends: &'p [Stand],
}

/// The progress of a building generation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// The sum of the applied offsets of the serving generation.
    pub goal: i64,
    /// The sum of the applied offsets of the building one.
    pub applied: i64,
    /// Records that the serving generation has applied and the building one has not.
    pub behind: i64,
    /// Partitions in which the two have different offsets.
    pub differing: i64,
    /// Applied records of either generation whose documents are not acknowledged, if documents are compared or needed for the
    /// swap.
    pub unpublished: i64,
    /// Keys of either generation whose record is being retried.
    pub retrying: i64,
}

impl Position {
    /// Whether both have applied the same records and nothing of them is pending.
    pub fn is_caught_up(&self) -> bool {
        self.differing == 0 && self.unpublished == 0 && self.retrying == 0
    }
}

impl Pair<'_> {
    /// The progress of the building generation; `documents`: whether the documents of the serving one are compared, too.
    ///
    /// # Errors
    /// Database errors.
    pub async fn position(&self, connection: &mut PgConnection, documents: bool) -> sqlx::Result<Position> {
        let position = sqlx::query_as(POSITION).bind(self.group).bind(self.serving).bind(self.building);
        let position = position.bind(self.topics).bind(documents);
        let position = bind_columns!(position, self.ends, end => end.0.as_str(), end.1, end.2);
        let (goal, applied, behind, differing, unpublished, retrying) =
            position.fetch_one(connection).await?;
        Ok(Position { goal, applied, behind, differing, unpublished, retrying })
    }

    /// Pauses both at the offsets of the one that is ahead, for `at_most`, in the topics that both read. Locks, then reads, so it
    /// needs a transaction.
    ///
    /// # Errors
    /// Database errors.
    pub async fn pause(&self, connection: &mut PgConnection, at_most: Duration) -> sqlx::Result<()> {
        self.bound(LOCK).execute(&mut *connection).await?;
        self.bound(PAUSE).bind(milliseconds(at_most)).execute(connection).await.map(|_| ())
    }

    /// Removes the pause points of the serving generation; the building one keeps its own.
    ///
    /// # Errors
    /// Database errors.
    pub async fn resume(&self, executor: impl PgExecutor<'_>) -> sqlx::Result<()> {
        resume(executor, self.group, self.serving, self.topics).await
    }

    /// Moves the pause points of the building generation to the offsets of the serving one: if it were ahead, the two could not
    /// be compared while the serving one makes no progress.
    /// Does nothing to a generation that is not building any more.
    ///
    /// # Errors
    /// Database errors.
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
/// Database errors.
pub async fn resume(
    executor: impl PgExecutor<'_>,
    group: &str,
    generation: i32,
    topics: &[String],
) -> sqlx::Result<()> {
    sqlx::query(RESUME).bind(group).bind(generation).bind(topics).execute(executor).await.map(|_| ())
}
