//! The table `consumer_offset`: the offsets of each group, in the database that the group writes.

mod held;
mod pair;

use std::collections::BTreeSet;

use sqlx::postgres::{PgArguments, PgQueryResult};
use sqlx::query::Query;
use sqlx::{PgConnection, PgExecutor, Postgres};
use uuid::Uuid;

pub(crate) use held::STATEMENTS as STATEMENTS_OF_HELD;
pub use held::{Held, held, let_go};
pub(crate) use pair::{PAUSE_AT_SERVING, STATEMENTS as STATEMENTS_OF_PAIRS};
pub use pair::{Pair, Position, resume, stand_as};

use crate::Group;
use crate::columns::{self, bind_columns};
use crate::statements::statements;

macro_rules! not_yet {
    ($column:literal) => {
        concat!(
            "SELECT count(*) FROM UNNEST($3::text[], $4::int[], $5::bigint[]) AS stand(topic, partition, reached)
         LEFT JOIN consumer_offset AS o
             ON o.grp = $1 AND o.generation = $2 AND o.topic = stand.topic AND o.partition = stand.partition
         WHERE coalesce(o.",
            $column,
            ", 0) < stand.reached"
        )
    };
}

/// Steps with the columns `grp`, `generation`, `topic`, `partition`, whose rows are locked in this order. Every statement that moves
/// several rows does so: of two that move the same rows one waits for the other, where each in an order of its own they were a deadlock.
/// The generation comes last, as where two generations are compared.
macro_rules! locked_in_order {
    ($steps:literal) => {
        concat!(
            "(SELECT step.* FROM ",
            $steps,
            " JOIN consumer_offset AS l USING (grp, generation, topic, partition)
              ORDER BY l.grp COLLATE \"C\", l.topic COLLATE \"C\", l.partition, l.generation FOR NO KEY UPDATE OF l) AS step"
        )
    };
}

statements! {
    /// A generation that begins beside an earlier one has its pause point at that one's offset, until the process that tends
    /// the build moves the point. A partition that was added to its topic is held. Rows are locked in their order.
    CLAIM = "INSERT INTO consumer_offset AS claimed
                 (grp, generation, topic, partition, epoch, applied, published, topic_id, held_below, pause_at, paused_until)
             SELECT $1::text, $2::int, own.topic, own.partition, 1, own.first, own.first, own.topic_id, below,
                    CASE WHEN below IS NULL THEN earlier ELSE own.first END,
                    CASE WHEN below IS NULL THEN clock_timestamp() + interval '10 s' ELSE 'infinity' END
             FROM UNNEST($3::text[], $4::int[], $5::bigint[], $6::uuid[]) AS own(topic, partition, first, topic_id),
                  LATERAL (SELECT min(applied) AS earlier FROM consumer_offset AS o
                           WHERE grp = $1 AND generation < $2
                             AND o.topic = own.topic AND o.partition = own.partition) AS build,
                  LATERAL (SELECT max(growth.first) AS below FROM growth
                           WHERE growth.topic = own.topic AND growth.first <= own.partition) AS added
             ORDER BY own.topic COLLATE \"C\", own.partition
             ON CONFLICT (grp, generation, topic, partition)
                 DO UPDATE SET epoch = claimed.epoch + 1, topic_id = coalesce(claimed.topic_id, excluded.topic_id)
             RETURNING topic, partition, epoch, applied, published, topic_id,
                       CASE WHEN is_answered AND coalesce(reached_topic = topic_id, true) THEN reached END,
                       held_below IS NOT NULL";
    BEGIN_AGAIN = "UPDATE consumer_offset SET applied = $6, published = $6, topic_id = $7, reached = NULL, is_answered = false
             WHERE grp = $1 AND generation = $2 AND topic = $3 AND partition = $4 AND epoch = $5";
    GO_ON = "UPDATE consumer_offset SET applied = greatest(applied, $6), published = greatest(published, $6)
             WHERE grp = $1 AND generation = $2 AND topic = $3 AND partition = $4 AND epoch = $5";
    /// A partition that another worker has claimed, or that is paused, is not moved; the others are.
    ADVANCE = concat!("UPDATE consumer_offset AS o
             SET applied = step.reached,
                 published = CASE WHEN step.published IS NULL THEN step.reached
                                  ELSE least(step.reached, greatest(o.published, step.published)) END
             FROM ", locked_in_order!(
                 "UNNEST($1::text[], $2::int[], $3::text[], $4::int[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[])
                  WITH ORDINALITY AS step(grp, generation, topic, partition, epoch, applied, reached, published, place)"
             ), "
             WHERE o.grp = step.grp AND o.generation = step.generation AND o.topic = step.topic AND o.partition = step.partition
               AND o.epoch = step.epoch AND o.applied = step.applied
               AND (pause_at IS NULL OR pause_at >= step.reached OR paused_until < now())
             RETURNING step.place");
    PAUSE_POINT = "SELECT pause_at FROM consumer_offset
             WHERE grp = $1 AND generation = $2 AND topic = $3 AND partition = $4 AND epoch = $5 AND applied = $6
               AND pause_at IS NOT NULL AND paused_until >= now()";
    PUBLISH = concat!("UPDATE consumer_offset AS o SET published = greatest(o.published, step.published)
             FROM ", locked_in_order!(
                 "(SELECT $1::text, $2::int, own.* FROM UNNEST($3::text[], $4::int[], $5::bigint[], $6::bigint[]) AS own)
                  AS step(grp, generation, topic, partition, epoch, published)"
             ), "
             WHERE o.grp = step.grp AND o.generation = step.generation AND o.topic = step.topic AND o.partition = step.partition
               AND o.epoch = step.epoch
             RETURNING o.topic, o.partition");
    APPLIED = "SELECT applied FROM consumer_offset
             WHERE grp = $1 AND generation = $2 AND topic = $3 AND partition = $4";
    STANDS = "SELECT topic, partition, applied FROM consumer_offset WHERE grp = $1 AND generation = $2";
    STANDS_OF_ALL = "SELECT topic, partition, applied FROM consumer_offset WHERE grp = $1";
    STANDS_IN_TOPICS = "SELECT topic, partition, applied FROM consumer_offset
             WHERE grp = $1 AND generation = $2 AND topic = ANY($3)";
    CLAIMS_IN_TOPICS = "SELECT topic, partition, applied, epoch, topic_id FROM consumer_offset
         WHERE grp = $1 AND generation = $2 AND topic = ANY($3)";
    EVERYWHERE = "SELECT grp, topic, partition, applied, published FROM consumer_offset ORDER BY 1, 2, 3";
    SET = "UPDATE consumer_offset SET applied = $6, published = $6, epoch = epoch + 1
         WHERE grp = $1 AND generation = $2 AND topic = $3 AND partition = $4 AND applied = $5";
    READS_AGAIN = "SELECT EXISTS (SELECT FROM consumer_offset
             WHERE grp = $1 AND reached > applied AND coalesce(reached_topic = topic_id, true) AND NOT is_answered)";
    NOT_APPLIED = not_yet!("applied");
    NOT_PUBLISHED = not_yet!("published");
    REMOVE = "DELETE FROM consumer_offset WHERE grp = $1 AND generation = $2";
}

/// For the read side only, which has the table `replay`.
pub(crate) const SERVING: &str = "SELECT grp, topic, partition, applied, published FROM consumer_offset AS o
             JOIN replay AS r ON o.grp = current_schema() || '.' || r.view AND o.generation = r.generation
             WHERE r.state = 'serving' ORDER BY 1, 2, 3";

/// For the write side only, where the ledgers recognise records that are read again. `$7`: the ledger has a row for every record
/// of the group, so that records that were read are skipped once rows are removed. Never sets the offset to before removed dead
/// letters.
pub(crate) const SET_BACK: &str = "UPDATE consumer_offset AS o
         SET applied = $6, published = $6, epoch = epoch + 1, reached_topic = topic_id,
             reached = greatest(applied, CASE WHEN coalesce(reached_topic = topic_id, true) THEN reached END),
             is_answered = $7 AND EXISTS (SELECT FROM pruned WHERE pruned.grp = o.grp)
         WHERE grp = $1 AND generation = $2 AND topic = $3 AND partition = $4 AND applied = $5
           AND NOT EXISTS (SELECT FROM pruned AS p WHERE p.grp = o.grp AND p.topic = o.topic AND p.partition = o.partition
                                                     AND coalesce(p.topic_id = o.topic_id, true) AND p.below > $6)";

/// A partition of a group.
#[derive(Debug, Clone, Copy)]
pub struct Partition<'p> {
    /// The group.
    pub group: &'p Group,
    /// The topic.
    pub topic: &'p str,
    /// The partition's number.
    pub partition: i32,
}

impl Partition<'_> {
    /// A statement whose first parameters are group, generation, topic and partition.
    pub(crate) fn bound(self, sql: &'static str) -> Query<'static, Postgres, PgArguments> {
        let query = sqlx::query(sql).bind(&self.group.id).bind(self.group.generation);
        query.bind(self.topic).bind(self.partition)
    }
}

/// A partition that is claimed.
#[derive(Debug, Clone, Copy)]
pub struct Claiming<'p> {
    /// The topic.
    pub topic: &'p str,
    /// The partition's number.
    pub partition: i32,
    /// Where it starts if it was never claimed.
    pub first: i64,
    /// The topic's id, which is remembered if none is known.
    pub topic_id: Option<Uuid>,
}

/// A claimed partition.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The epoch: counts the claims of the partition.
    pub epoch: i64,
    /// The next offset to apply.
    pub applied: i64,
    /// The offset below which Elasticsearch has acknowledged every document.
    pub published: i64,
    /// The id of the topic to which the offsets refer; `None` while it is not known.
    pub topic_id: Option<Uuid>,
    /// After a reset: records below this offset were answered before and are skipped.
    pub answered_below: Option<i64>,
    /// Whether it is [held](Held).
    pub held: bool,
}

/// Claims partitions of a group, in any order: waits for commits in flight, then fences off their authors.
///
/// # Errors
/// The database's, as of every function here.
pub async fn claim(
    executor: impl PgExecutor<'_>,
    group: &Group,
    partitions: &[Claiming<'_>],
) -> sqlx::Result<Vec<Claimed>> {
    let claim = sqlx::query_as(CLAIM).bind(&group.id).bind(group.generation);
    let claim = bind_columns!(claim, partitions, one => one.topic, one.partition, one.first, one.topic_id);
    let claimed: Vec<Row> = claim.fetch_all(executor).await?;
    Ok(claimed.into_iter().map(claimed_of).collect())
}

type Row = (String, i32, i64, i64, i64, Option<Uuid>, Option<i64>, bool);

fn claimed_of((topic, partition, epoch, applied, published, topic_id, answered_below, held): Row) -> Claimed {
    Claimed { topic, partition, epoch, applied, published, topic_id, answered_below, held }
}

/// Sets both offsets and the topic's id; false when the partition has another epoch.
///
/// # Errors
/// Database errors.
pub async fn begin_again(
    executor: impl PgExecutor<'_>,
    at: Partition<'_>,
    epoch: i64,
    first: i64,
    topic_id: Option<Uuid>,
) -> sqlx::Result<bool> {
    only_one(at.bound(BEGIN_AGAIN).bind(epoch).bind(first).bind(topic_id).execute(executor).await)
}

/// Moves both offsets to `first`, unless they are beyond it; false when the partition has another epoch.
///
/// # Errors
/// Database errors.
pub async fn go_on_at(
    executor: impl PgExecutor<'_>,
    at: Partition<'_>,
    epoch: i64,
    first: i64,
) -> sqlx::Result<bool> {
    only_one(at.bound(GO_ON).bind(epoch).bind(first).execute(executor).await)
}

/// How a batch moves the offsets of one of its partitions.
#[derive(Debug, Clone, Copy)]
pub struct Step<'s> {
    /// The partition.
    pub at: Partition<'s>,
    /// The epoch of the claim.
    pub epoch: i64,
    /// The applied offset before the batch.
    pub from: i64,
    /// The applied offset after the batch.
    pub to: i64,
    /// The published offset after the batch, unless the row has a higher one; `None` for a group that publishes nothing.
    pub published: Option<i64>,
}

/// Moves the offsets of some partitions, and locks their rows; returns the places of the steps that were not made: the partition has
/// another epoch, another offset, or a pause point below `to`.
///
/// # Errors
/// Database errors.
pub async fn advance(connection: &mut PgConnection, steps: &[Step<'_>]) -> sqlx::Result<Vec<usize>> {
    let advance = bind_columns!(sqlx::query_scalar(ADVANCE), steps, step =>
        step.at.group.id.as_str(), step.at.group.generation, step.at.topic, step.at.partition,
        step.epoch, step.from, step.to, step.published
    );
    let made: Vec<i64> = advance.fetch_all(connection).await?;
    let made: BTreeSet<usize> = made.into_iter().filter_map(columns::place).collect();
    Ok((0..steps.len()).filter(|place| !made.contains(place)).collect())
}

/// The pause point of a partition with this epoch and this applied offset, if it is paused.
///
/// # Errors
/// Database errors.
pub async fn pause_point(
    connection: &mut PgConnection,
    at: Partition<'_>,
    epoch: i64,
    applied: i64,
) -> sqlx::Result<Option<i64>> {
    let paused = sqlx::query_scalar(PAUSE_POINT).bind(&at.group.id).bind(at.group.generation);
    let paused = paused.bind(at.topic).bind(at.partition).bind(epoch).bind(applied);
    paused.fetch_optional(connection).await
}

/// A published offset to be recorded: topic, partition, epoch of the claim, offset.
pub type PublishStep<'s> = (&'s str, i32, i64, i64);

/// Moves the published offsets of some partitions of a group forward; returns the partitions that have the given epoch.
///
/// # Errors
/// Database errors.
pub async fn publish(
    connection: &mut PgConnection,
    group: &Group,
    steps: &[PublishStep<'_>],
) -> sqlx::Result<Vec<(String, i32)>> {
    let publish = sqlx::query_as(PUBLISH).bind(&group.id).bind(group.generation);
    bind_columns!(publish, steps, step => step.0, step.1, step.2, step.3).fetch_all(connection).await
}

fn only_one(changed: sqlx::Result<PgQueryResult>) -> sqlx::Result<bool> {
    changed.map(|changed| changed.rows_affected() == 1)
}

/// The applied offset of a partition; `None` when it was never claimed.
///
/// # Errors
/// Database errors.
pub async fn applied(connection: &mut PgConnection, at: Partition<'_>) -> sqlx::Result<Option<i64>> {
    let applied = sqlx::query_scalar(APPLIED).bind(&at.group.id).bind(at.group.generation);
    applied.bind(at.topic).bind(at.partition).fetch_optional(connection).await
}

/// An offset of a group: topic, partition, next offset to apply.
pub type Stand = (String, i32, i64);

/// The offsets of a generation of a group.
///
/// # Errors
/// Database errors.
pub async fn stands(executor: impl PgExecutor<'_>, group: &Group) -> sqlx::Result<Vec<Stand>> {
    sqlx::query_as(STANDS).bind(&group.id).bind(group.generation).fetch_all(executor).await
}

/// The offsets of all generations of a group.
///
/// # Errors
/// Database errors.
pub async fn stands_of_all(executor: impl PgExecutor<'_>, group: &str) -> sqlx::Result<Vec<Stand>> {
    sqlx::query_as(STANDS_OF_ALL).bind(group).fetch_all(executor).await
}

/// The offsets of a generation of a group in some topics.
///
/// # Errors
/// Database errors.
pub async fn stands_in(
    executor: impl PgExecutor<'_>,
    (group, generation): (&str, i32),
    topics: &[String],
) -> sqlx::Result<Vec<Stand>> {
    sqlx::query_as(STANDS_IN_TOPICS).bind(group).bind(generation).bind(topics).fetch_all(executor).await
}

/// The same with the epoch and the topic's id after the offset.
///
/// # Errors
/// Database errors.
pub async fn claims_in(
    executor: impl PgExecutor<'_>,
    (group, generation): (&str, i32),
    topics: &[String],
) -> sqlx::Result<Vec<(String, i32, i64, i64, Option<Uuid>)>> {
    sqlx::query_as(CLAIMS_IN_TOPICS).bind(group).bind(generation).bind(topics).fetch_all(executor).await
}

/// Group, topic, partition, applied and published offset.
pub type GroupStand = (String, String, i32, i64, i64);

/// The offsets of every group.
///
/// # Errors
/// Database errors.
pub async fn everywhere(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<GroupStand>> {
    sqlx::query_as(EVERYWHERE).fetch_all(executor).await
}

/// The offsets of the serving generation of every view.
///
/// # Errors
/// Database errors.
pub async fn serving(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<GroupStand>> {
    sqlx::query_as(SERVING).fetch_all(executor).await
}

/// Sets an offset that is now `from`, and fences the worker that has claimed the partition; false when the offset is another one.
///
/// # Errors
/// Database errors.
pub async fn set(
    connection: &mut PgConnection,
    (group, generation): (&str, i32),
    (topic, partition): (&str, i32),
    (from, to): (i64, i64),
) -> sqlx::Result<bool> {
    let set = sqlx::query(SET).bind(group).bind(generation).bind(topic).bind(partition).bind(from).bind(to);
    only_one(set.execute(connection).await)
}

/// Resets an offset of the write side that is now `from`, and fences the worker that has claimed the partition; false when the
/// offset is another one, or when dead letters after the new one were removed. `whole`: the ledger has a row for every record of
/// the group. Call it after [`pruned::lock`](crate::pruned::lock), in the same transaction.
///
/// # Errors
/// Database errors.
pub async fn set_back(
    connection: &mut PgConnection,
    at: Partition<'_>,
    (from, to): (i64, i64),
    whole: bool,
) -> sqlx::Result<bool> {
    only_one(at.bound(SET_BACK).bind(from).bind(to).bind(whole).execute(connection).await)
}

/// Whether a group of the write side that was reset still reads records that were answered before.
///
/// # Errors
/// Database errors.
pub async fn reads_again(connection: &mut PgConnection, group: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar(READS_AGAIN).bind(group).fetch_one(connection).await
}

/// The two offsets of a group.
#[derive(Debug, Clone, Copy)]
pub enum Mark {
    /// The applied offset.
    Applied,
    /// The published offset.
    Published,
}

/// The number of partitions in which a group is behind `stands`.
///
/// # Errors
/// Database errors.
pub async fn behind(
    executor: impl PgExecutor<'_>,
    group: &Group,
    mark: Mark,
    stand: &[Stand],
) -> sqlx::Result<i64> {
    let behind = match mark {
        Mark::Applied => NOT_APPLIED,
        Mark::Published => NOT_PUBLISHED,
    };
    bind_columns!(sqlx::query_scalar(behind).bind(&group.id).bind(group.generation), stand, stand =>
        stand.0.as_str(), stand.1, stand.2
    )
    .fetch_one(executor)
    .await
}

/// Removes the rows of a generation.
///
/// # Errors
/// Database errors.
pub async fn remove(connection: &mut PgConnection, group: &str, generation: i32) -> sqlx::Result<()> {
    sqlx::query(REMOVE).bind(group).bind(generation).execute(connection).await.map(|_| ())
}
