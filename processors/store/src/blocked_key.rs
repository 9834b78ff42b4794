//! The table `blocked_key`: one row for each ordering key whose records wait. Workers of source and retry topics lock it before
//! they process records of the key.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use crate::Group;
use crate::columns::{self, bind_columns};
use crate::consumer_offset::Partition;
use crate::database::milliseconds;
use crate::statements::statements;
use crate::timestamp::Nearest;

statements! {
    TOPICS = "SELECT place FROM UNNEST($1::text[], $2::int[], $3::text[]) WITH ORDINALITY AS asked(grp, generation, topic, place)
         WHERE EXISTS (SELECT FROM blocked_key AS b
                       WHERE b.grp = asked.grp AND b.generation = asked.generation AND b.topic = asked.topic)";
    LOCK = "SELECT key, status, partition, \"offset\", attempts FROM blocked_key
         WHERE grp = $1 AND generation = $2 AND topic = $3 AND key = ANY($4)
         ORDER BY key FOR UPDATE";
    PUT = "INSERT INTO blocked_key
             (grp, generation, topic, key, status, partition, \"offset\", attempts, due_at, code, message)
         SELECT $1, $2, $3, key, status, partition, \"offset\", attempts, now() + due_in * interval '1 ms', code, message
         FROM UNNEST($4::bytea[], $5::text[], $6::int[], $7::bigint[], $8::int[], $9::bigint[], $10::text[], $11::text[])
              AS waiting(key, status, partition, \"offset\", attempts, due_in, code, message)
         ORDER BY key
         ON CONFLICT (grp, generation, topic, key) DO UPDATE
         SET status = excluded.status, partition = excluded.partition, \"offset\" = excluded.\"offset\",
             attempts = excluded.attempts, due_at = excluded.due_at, code = excluded.code, message = excluded.message
         WHERE $12";
    FREE = "DELETE FROM blocked_key WHERE grp = $1 AND generation = $2 AND topic = $3 AND key = $4";
    OVERDUE = "UPDATE blocked_key SET due_at = now() WHERE ctid = ANY (ARRAY(
                 SELECT ctid FROM blocked_key
                 WHERE grp = $1 AND generation = $2 AND status = 'retrying' AND due_at < now() - $3 * interval '1 ms'
                 ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED))
             RETURNING topic, partition, \"offset\", attempts, message";
    SHIFT_OFFSETS = "UPDATE blocked_key SET \"offset\" = \"offset\" + $5
             WHERE grp = $1 AND generation = $2 AND topic = $3 AND partition = $4 AND \"offset\" >= 0";
    BEHIND_A_FAILURE = "SELECT topic, key FROM blocked_key WHERE grp = $1 AND generation = $2 AND status IN ('retrying', 'dead')";
    COUNTS = "SELECT grp, status, count(*), sum(waiting.records)::bigint, min(since)
         FROM blocked_key AS b CROSS JOIN LATERAL (
             SELECT count(*) AS records FROM parked AS p
             WHERE p.grp = b.grp AND p.generation = b.generation AND p.topic = b.topic AND p.key = b.key
               AND p.drained_offset IS NULL
         ) AS waiting
         GROUP BY 1, 2 ORDER BY 1, 2";
    WAITING = "SELECT b.grp, b.generation, b.topic, b.key, b.status, b.attempts, b.due_at, b.since, b.code, b.message,
                blocking.record_id, (
                    SELECT count(*) FROM parked AS p
                    WHERE p.grp = b.grp AND p.generation = b.generation AND p.topic = b.topic AND p.key = b.key
                      AND p.drained_offset IS NULL
                ) AS records
         FROM blocked_key AS b
         LEFT JOIN parked AS blocking
              ON blocking.grp = b.grp AND blocking.generation = b.generation AND blocking.topic = b.topic
              AND blocking.partition = b.partition AND blocking.\"offset\" = b.\"offset\"
         WHERE ($1::text[] IS NULL OR b.grp = ANY($1)) AND ($2::text IS NULL OR b.status = $2)
           AND ($3::bytea[] IS NULL OR b.key = ANY($3))
         ORDER BY b.since, b.grp, b.topic, b.key LIMIT $4";
    REMOVE = "DELETE FROM blocked_key WHERE grp = $1 AND generation = $2";
}

/// The places of those topics of groups that have a blocked key; usually none.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn topics(connection: &mut PgConnection, asked: &[(&Group, &str)]) -> sqlx::Result<Vec<usize>> {
    let topics = bind_columns!(sqlx::query_scalar(TOPICS), asked, (group, topic) =>
        group.id.as_str(), group.generation, *topic
    );
    let places: Vec<i64> = topics.fetch_all(connection).await?;
    Ok(places.into_iter().filter_map(columns::place).collect())
}

/// What a key waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The next attempt at its blocking record.
    Retrying,
    /// An operator who redrives or discards its blocking record, a dead letter.
    Dead,
    /// A missing version of the stream.
    Gap,
}

impl Status {
    /// The text in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Retrying => "retrying",
            Status::Dead => "dead",
            Status::Gap => "gap",
        }
    }

    /// The status for a text of the table.
    pub fn of(text: &str) -> Self {
        match text {
            "retrying" => Status::Retrying,
            "dead" => Status::Dead,
            _ => Status::Gap,
        }
    }
}

/// Key, status, partition and offset of the blocking record, attempts.
pub type Locked = (Vec<u8>, String, Option<i32>, Option<i64>, i32);

/// Locks the rows of those keys that are blocked, in the order of the keys.
///
/// # Errors
/// Database errors.
pub async fn lock(
    connection: &mut PgConnection,
    group: &Group,
    topic: &str,
    keys: Vec<&[u8]>,
) -> sqlx::Result<Vec<Locked>> {
    let lock = sqlx::query_as(LOCK).bind(&group.id).bind(group.generation).bind(topic).bind(keys);
    lock.fetch_all(connection).await
}

/// A key and what it waits for.
#[derive(Debug, Clone, Copy)]
pub struct Row<'r> {
    /// The key.
    pub key: &'r [u8],
    /// `retrying`, `dead` or `gap`.
    pub status: &'r str,
    /// Partition and offset of its blocking record; none while a version is missing.
    pub blocking: Option<(i32, i64)>,
    /// Failed attempts at the blocking record.
    pub attempts: i32,
    /// The delay until its next attempt.
    pub due_in: Duration,
    /// The blocking record's error code.
    pub code: Option<&'r str>,
    /// The blocking record's error message.
    pub message: Option<&'r str>,
}

/// Blocks keys of a topic; with `over` it also updates keys that are blocked already.
///
/// # Errors
/// Database errors.
pub async fn put(
    connection: &mut PgConnection,
    group: &Group,
    topic: &str,
    rows: &[Row<'_>],
    over: bool,
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    bind_columns!(sqlx::query(PUT).bind(&group.id).bind(group.generation).bind(topic), rows, row =>
        row.key, row.status, row.blocking.map(|(partition, _)| partition),
        row.blocking.map(|(_, offset)| offset), row.attempts, milliseconds(row.due_in), row.code, row.message
    )
    .bind(over)
    .execute(connection)
    .await
    .map(|_| ())
}

/// Removes the row of a key for which no record waits any more.
///
/// # Errors
/// Database errors.
pub async fn free(connection: &mut PgConnection, group: &Group, topic: &str, key: &[u8]) -> sqlx::Result<()> {
    let free = sqlx::query(FREE).bind(&group.id).bind(group.generation).bind(topic).bind(key);
    free.execute(connection).await.map(|_| ())
}

/// A blocking record: topic, partition, offset, failed attempts, error code.
pub type BlockingRecord = (String, i32, i64, i32, Option<String>);

/// Blocking records whose next attempt is overdue by `grace`; sets them due now.
///
/// # Errors
/// Database errors.
pub async fn overdue(
    connection: &mut PgConnection,
    group: &Group,
    grace: Duration,
    most: i64,
) -> sqlx::Result<Vec<BlockingRecord>> {
    let overdue = sqlx::query_as(OVERDUE).bind(&group.id).bind(group.generation);
    overdue.bind(milliseconds(grace)).bind(most).fetch_all(connection).await
}

/// Adds `by` to the offsets of blocking records; for records of a deleted topic the result is below zero.
///
/// # Errors
/// Database errors.
pub async fn shift_offsets(connection: &mut PgConnection, at: Partition<'_>, by: i64) -> sqlx::Result<()> {
    at.bound(SHIFT_OFFSETS).bind(by).execute(connection).await.map(|_| ())
}

/// Topic and key of each blocked key that has a failed blocking record.
///
/// # Errors
/// Database errors.
pub async fn behind_a_failure(
    executor: impl PgExecutor<'_>,
    group: &Group,
) -> sqlx::Result<Vec<(String, Vec<u8>)>> {
    sqlx::query_as(BEHIND_A_FAILURE).bind(&group.id).bind(group.generation).fetch_all(executor).await
}

/// Blocked keys by group and status: number of keys, number of waiting records, and the time of the first.
///
/// # Errors
/// Database errors.
pub async fn counts(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<(String, String, i64, i64, Nearest)>> {
    sqlx::query_as(COUNTS).fetch_all(executor).await
}

/// A key whose records wait.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The consumer group.
    pub group: String,
    /// The generation of the read model that it builds.
    pub generation: i32,
    /// The topic.
    pub topic: String,
    /// The ordering key.
    pub key: Vec<u8>,
    /// `retrying`, `dead` or `gap`.
    pub status: String,
    /// Failed attempts at the blocking record.
    pub attempts: i32,
    /// When its next attempt is due, if it is being retried.
    pub due_at: DateTime<Utc>,
    /// When the key was blocked.
    pub since: DateTime<Utc>,
    /// The blocking record's error code.
    pub code: Option<String>,
    /// The blocking record's error message.
    pub message: Option<String>,
    /// The `ce_id` of the blocking record.
    pub id: Option<String>,
    /// The number of waiting records, the blocking one included.
    pub records: i64,
}

type Found = (
    String,
    i32,
    String,
    Vec<u8>,
    String,
    i32,
    Nearest,
    Nearest,
    Option<String>,
    Option<String>,
    Option<String>,
    i64,
);

/// A filter of blocked keys; `None` matches all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Which<'w> {
    /// Of these groups.
    pub groups: Option<&'w [String]>,
    /// With this status.
    pub status: Option<&'w str>,
    /// These keys.
    pub keys: Option<&'w [&'w [u8]]>,
}

/// Blocked keys; those that have been blocked longest come first.
///
/// # Errors
/// Database errors.
pub async fn waiting(
    executor: impl PgExecutor<'_>,
    Which { groups, status, keys }: Which<'_>,
    limit: i64,
) -> sqlx::Result<Vec<Waiting>> {
    let waiting = sqlx::query_as(WAITING).bind(groups).bind(status).bind(keys).bind(limit);
    Ok(waiting.fetch_all(executor).await?.into_iter().map(found).collect())
}

fn found(row: Found) -> Waiting {
    let (group, generation, topic, key, status, attempts, due_at, since, code, message, id, records) = row;
    let (due_at, since) = (due_at.0, since.0);
    Waiting { group, generation, topic, key, status, attempts, due_at, since, code, message, id, records }
}

/// Removes the rows of a generation.
///
/// # Errors
/// Database errors.
pub async fn remove(connection: &mut PgConnection, group: &str, generation: i32) -> sqlx::Result<()> {
    sqlx::query(REMOVE).bind(group).bind(generation).execute(connection).await.map(|_| ())
}
