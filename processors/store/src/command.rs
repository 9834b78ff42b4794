//! The table `command`, the ledger: one row for each command that was decided or dead-lettered. It is used for deduplication and
//! as receipts.

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};

use crate::columns::bind_columns;
use crate::prune::{Aged, Batch, reached};
use crate::statements::statements;
use crate::timestamp::Nearest;
use crate::{Group, Place};

/// Receipts that are older than their retention and no longer needed: Kafka no longer has their records, their dead letter is
/// discarded or was never written, and the outbox does not have the command. Each condition is a scalar subquery per row, which
/// uses an index: for `EXISTS` the planner would hash the whole table for each batch.
macro_rules! prunable {
    () => {
        "FROM command AS c
         JOIN UNNEST($1::text[], $2::int[], $3::bigint[]) AS log(topic, partition, first)
             ON c.topic = log.topic AND c.partition = log.partition AND c.\"offset\" < log.first
         WHERE c.decided_at < $4
           AND (c.status <> 'dead' OR (
               SELECT l.id FROM dead_letter AS l WHERE l.topic = c.topic AND l.partition = c.partition
               AND l.\"offset\" = c.\"offset\" AND l.status <> 'discarded' LIMIT 1) IS NULL)
           AND (c.source <> '/' || current_schema() OR (
               SELECT o.id FROM outbox AS o WHERE o.version IS NULL
               AND o.id = CASE WHEN c.id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN c.id::uuid END LIMIT 1) IS NULL)"
    };
}

statements! {
    KNOWN = "SELECT id, source, fingerprint, status, topic, partition, \"offset\", life FROM command WHERE id = ANY($1)";
    INSERT = "INSERT INTO command AS known
             (context, received_at, id, source, fingerprint, type, stream, topic, partition, \"offset\",
              status, code, message, versions, produced_at, life)
         SELECT $1, $2, r.id, r.source, r.fingerprint, r.type, r.stream, r.topic, r.partition, r.\"offset\",
                r.status, r.code, r.message, r.versions::json, r.produced_at, r.life
         FROM UNNEST($3::text[], $4::text[], $5::bytea[], $6::text[], $7::text[], $8::text[], $9::int[], $10::bigint[],
                     $11::text[], $12::text[], $13::text[], $14::text[], $15::timestamptz[], $16::int[])
              AS r(id, source, fingerprint, type, stream, topic, partition, \"offset\",
                   status, code, message, versions, produced_at, life)
         ON CONFLICT (id, source) DO UPDATE
         SET fingerprint = excluded.fingerprint, type = excluded.type, context = excluded.context,
             stream = excluded.stream, topic = excluded.topic, partition = excluded.partition,
             \"offset\" = excluded.\"offset\", status = excluded.status, code = excluded.code,
             message = excluded.message, versions = excluded.versions, produced_at = excluded.produced_at,
             received_at = CASE WHEN (known.topic, known.partition, known.\"offset\")
                                     = (excluded.topic, excluded.partition, excluded.\"offset\")
                                THEN known.received_at ELSE excluded.received_at END,
             decided_at = excluded.decided_at, attempts = excluded.attempts, life = excluded.life
         WHERE known.status = 'dead' AND known.life = excluded.life - 1";
    INSERT_DEAD = "INSERT INTO command AS known
             (id, source, fingerprint, type, context, stream, topic, partition, \"offset\",
              status, code, message, produced_at, received_at)
         VALUES ($1, $2, '', $3, $4, $5, $6, $7, $8, 'dead', $9, $10, $11, clock_timestamp())
         ON CONFLICT (id, source) DO UPDATE
         SET type = excluded.type, context = excluded.context, stream = excluded.stream, topic = excluded.topic,
             partition = excluded.partition, \"offset\" = excluded.\"offset\", code = excluded.code,
             message = excluded.message, produced_at = excluded.produced_at,
             received_at = CASE WHEN (known.topic, known.partition, known.\"offset\")
                                     = (excluded.topic, excluded.partition, excluded.\"offset\")
                                THEN known.received_at ELSE excluded.received_at END,
             decided_at = excluded.decided_at, attempts = excluded.attempts, life = known.life + 1
         WHERE known.status = 'dead'
         RETURNING life";
    CORRECT_WAITED = "UPDATE command AS c
         SET received_at = least(c.received_at, p.parked_at), attempts = coalesce(b.attempts, 0) + 1
         FROM UNNEST($3::text[], $4::int[], $5::bigint[]) AS done(topic, partition, \"offset\")
         JOIN parked AS p ON p.grp = $1 AND p.generation = $2 AND p.topic = done.topic
              AND p.partition = done.partition AND p.\"offset\" = done.\"offset\"
         LEFT JOIN blocked_key AS b ON b.grp = p.grp AND b.generation = p.generation AND b.topic = p.topic
              AND b.key = p.key AND b.partition = p.partition AND b.\"offset\" = p.\"offset\"
         WHERE c.id = p.record_id AND c.source = p.record_source
           AND c.topic = p.topic AND c.partition = p.partition AND c.\"offset\" = p.\"offset\"";
    DECIDED = "SELECT id FROM command WHERE source = $1 AND id = ANY($2) AND status <> 'dead'";
    RECEIPT = "SELECT to_jsonb(command) - 'fingerprint' FROM command WHERE id = $1 AND source = $2";
    RECEIPTS = "SELECT to_jsonb(command) FROM command
         WHERE id = ANY($1) AND ($2::text IS NULL OR source = $2) ORDER BY id, source";
    RECEIPTS_OF = "SELECT to_jsonb(c) - 'fingerprint', c.fingerprint
         FROM unnest($1::text[], $2::text[]) AS asked (id, source) JOIN command AS c USING (id, source)";
    /// Only the returned rows are converted to JSON.
    NEWEST = "SELECT to_jsonb(c) FROM (
             SELECT * FROM command
             WHERE ($1::text IS NULL OR context = $1) AND ($2::text IS NULL OR stream = $2)
               AND ($3::text IS NULL OR status = $3) AND ($4::timestamptz IS NULL OR decided_at >= $4)
             ORDER BY decided_at DESC, id LIMIT $5) AS c
         ORDER BY c.decided_at DESC, c.id";
    OUTCOMES = "SELECT id, status, code FROM command WHERE source = $1 AND id = ANY($2)";
    /// Names the table, so that a missing `setup` is an error.
    CLOCK = "SELECT clock_timestamp() WHERE NOT EXISTS (SELECT FROM command LIMIT 0)";
    PRUNABLE = concat!("SELECT count(*), min(c.decided_at) ", prunable!());
    PRUNE = concat!("DELETE FROM command WHERE ctid = ANY (ARRAY(
             SELECT c.ctid ", prunable!(), " AND c.decided_at >= coalesce($5::timestamptz, '-infinity')
             ORDER BY c.decided_at LIMIT $6 FOR UPDATE OF c SKIP LOCKED))
         RETURNING topic, partition, \"offset\", decided_at");
    ENDED_SINCE = "SELECT c.source, c.id, c.status, c.code, c.message FROM unnest($1::text[], $2::text[]) AS asked (id, source)
         JOIN command AS c USING (id, source)
         WHERE c.status <> 'dead' OR c.decided_at >= $3";
}

/// Id, source, fingerprint, status, topic, partition, offset and life.
pub type Known = (String, String, Vec<u8>, String, String, i32, i64, i32);

/// The rows with these ids, whatever their source.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn known(connection: &mut PgConnection, ids: Vec<&str>) -> sqlx::Result<Vec<Known>> {
    sqlx::query_as(KNOWN).bind(ids).fetch_all(connection).await
}

/// A decided command.
#[derive(Debug, Clone, Copy)]
pub struct New<'c> {
    /// Its id.
    pub id: &'c str,
    /// Its `ce_source`.
    pub source: &'c str,
    /// The fingerprint, which distinguishes it from another command with the same identity.
    pub fingerprint: &'c [u8],
    /// The full name of its type.
    pub record_type: &'c str,
    /// The first stream that it names.
    pub stream: &'c str,
    /// Its topic.
    pub topic: &'c str,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// `completed` or `rejected`.
    pub status: &'c str,
    /// The rejection's code.
    pub code: Option<&'c str>,
    /// The rejection's message.
    pub message: Option<&'c str>,
    /// The last version that was written in each stream, as JSON.
    pub versions: Option<&'c str>,
    /// Its timestamp in Kafka.
    pub produced_at: Option<DateTime<Utc>>,
    /// 1, or one more than that of its dead letter.
    pub life: i32,
}

/// Writes receipts of decided commands of a context and returns how many were written. A receipt replaces that of a dead letter of
/// the life before; commands that are decided already are left out.
///
/// # Errors
/// Database errors.
pub async fn insert(
    connection: &mut PgConnection,
    context: &str,
    received_at: DateTime<Utc>,
    rows: &[New<'_>],
) -> sqlx::Result<u64> {
    let written = bind_columns!(sqlx::query(INSERT).bind(context).bind(received_at), rows, row =>
        row.id, row.source, row.fingerprint, row.record_type, row.stream, row.topic, row.partition,
        row.offset, row.status, row.code, row.message, row.versions, row.produced_at, row.life
    )
    .execute(connection)
    .await?;
    Ok(written.rows_affected())
}

/// A dead-lettered command.
#[derive(Debug, Clone, Copy)]
pub struct Dead<'c> {
    /// Its id.
    pub id: &'c str,
    /// Its `ce_source`.
    pub source: &'c str,
    /// The type in its header.
    pub record_type: &'c str,
    /// The context of its topic.
    pub context: &'c str,
    /// Its ordering key.
    pub stream: &'c str,
    /// Its topic.
    pub topic: &'c str,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// The error code.
    pub code: &'c str,
    /// The error message.
    pub message: &'c str,
    /// Its timestamp in Kafka.
    pub produced_at: Option<DateTime<Utc>>,
}

/// Writes the receipt of a dead-lettered command and returns its life: 1, or one more than that of the earlier dead letter that it
/// replaces. `None` if the command is decided, whose receipt stays.
///
/// # Errors
/// Database errors.
pub async fn insert_dead(connection: &mut PgConnection, dead: &Dead<'_>) -> sqlx::Result<Option<i32>> {
    sqlx::query_scalar(INSERT_DEAD)
        .bind(dead.id)
        .bind(dead.source)
        .bind(dead.record_type)
        .bind(dead.context)
        .bind(dead.stream)
        .bind(dead.topic)
        .bind(dead.partition)
        .bind(dead.offset)
        .bind(dead.code)
        .bind(dead.message)
        .bind(dead.produced_at)
        .fetch_optional(connection)
        .await
}

/// Sets arrival time and number of attempts in the receipts of parked records (topic, partition, offset).
///
/// # Errors
/// Database errors.
pub async fn correct_waited(
    connection: &mut PgConnection,
    group: &Group,
    places: &[(&str, i32, i64)],
) -> sqlx::Result<()> {
    if places.is_empty() {
        return Ok(());
    }
    let correct = sqlx::query(CORRECT_WAITED).bind(&group.id).bind(group.generation);
    let correct = bind_columns!(correct, places, (topic, partition, offset) => *topic, *partition, *offset);
    correct.execute(connection).await.map(|_| ())
}

/// The ids of a source that are decided.
///
/// # Errors
/// Database errors.
pub async fn decided(
    connection: &mut PgConnection,
    source: &str,
    ids: Vec<&String>,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(DECIDED).bind(source).bind(ids).fetch_all(connection).await
}

/// The receipt of a command, the row as JSON without its fingerprint.
///
/// # Errors
/// Database errors.
pub async fn receipt<R: DeserializeOwned + Send + Unpin + 'static>(
    connection: &mut PgConnection,
    (source, id): (&str, &str),
) -> sqlx::Result<Option<R>> {
    let receipt = sqlx::query_scalar(RECEIPT).bind(id).bind(source);
    Ok(receipt.fetch_optional(connection).await?.map(|Json(receipt)| receipt))
}

/// The receipts of commands with these ids, of one source or of all, in the order of id and source.
///
/// # Errors
/// Database errors.
pub async fn receipts<R: DeserializeOwned + Send + Unpin + 'static>(
    executor: impl PgExecutor<'_>,
    ids: &[&str],
    source: Option<&str>,
) -> sqlx::Result<Vec<R>> {
    let found = sqlx::query_scalar(RECEIPTS).bind(ids).bind(source).fetch_all(executor).await?;
    Ok(found.into_iter().map(|Json(receipt)| receipt).collect())
}

/// The receipts of these commands that have one, each with its fingerprint.
///
/// # Errors
/// Database errors.
pub async fn receipts_of<R: DeserializeOwned + Send + Unpin + 'static>(
    executor: impl PgExecutor<'_>,
    (sources, ids): (&[&str], &[&str]),
) -> sqlx::Result<Vec<(R, Vec<u8>)>> {
    let found: Vec<(Json<R>, Vec<u8>)> =
        sqlx::query_as(RECEIPTS_OF).bind(ids).bind(sources).fetch_all(executor).await?;
    Ok(found.into_iter().map(|(Json(receipt), fingerprint)| (receipt, fingerprint)).collect())
}

/// A filter of commands; `None` matches all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'f> {
    /// Of a context.
    pub context: Option<&'f str>,
    /// Of a stream.
    pub stream: Option<&'f str>,
    /// With this status.
    pub status: Option<&'f str>,
    /// Decided or dead-lettered since this time.
    pub since: Option<DateTime<Utc>>,
}

/// The newest receipts.
///
/// # Errors
/// Database errors.
pub async fn newest<R: DeserializeOwned + Send + Unpin + 'static>(
    executor: impl PgExecutor<'_>,
    filter: &Filter<'_>,
    limit: i64,
) -> sqlx::Result<Vec<R>> {
    let Filter { context, stream, status, since } = filter;
    let newest = sqlx::query_scalar(NEWEST).bind(context).bind(stream).bind(status).bind(since).bind(limit);
    Ok(newest.fetch_all(executor).await?.into_iter().map(|Json(receipt)| receipt).collect())
}

/// Id, status and code of commands of a source.
///
/// # Errors
/// Database errors.
pub async fn outcomes(
    executor: impl PgExecutor<'_>,
    source: &str,
    ids: &[&str],
) -> sqlx::Result<Vec<(String, String, Option<String>)>> {
    sqlx::query_as(OUTCOMES).bind(source).bind(ids).fetch_all(executor).await
}

/// The current time of the write side's clock.
///
/// # Errors
/// Database errors, also when there is no such table.
pub async fn clock(executor: impl PgExecutor<'_>) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar(CLOCK).fetch_one(executor).await
}

/// Source, id, status; code and message of a command that was not completed.
pub type Ended = (String, String, String, Option<String>, Option<String>);

/// Those of some commands that are decided, or were dead-lettered since a time.
///
/// # Errors
/// Database errors.
pub async fn ended_since(
    executor: impl PgExecutor<'_>,
    (sources, ids): (Vec<&str>, Vec<&str>),
    since: DateTime<Utc>,
) -> sqlx::Result<Vec<Ended>> {
    sqlx::query_as(ENDED_SINCE).bind(ids).bind(sources).bind(since).fetch_all(executor).await
}

/// The first existing offset of a partition: topic, partition, offset.
pub type First = (String, i32, i64);

/// The number and age of the receipts that retention would remove.
///
/// # Errors
/// Database errors.
pub async fn prunable(
    executor: impl PgExecutor<'_>,
    firsts: &[First],
    before: DateTime<Utc>,
) -> sqlx::Result<Aged> {
    let aged = sqlx::query_as(PRUNABLE);
    let aged = bind_columns!(aged, firsts, (topic, partition, first) => topic.as_str(), *partition, *first);
    aged.bind(before).fetch_one(executor).await.map(Aged::of)
}

/// Removes a batch of them, the oldest first; returns the places of their records, and the time that it has reached.
///
/// # Errors
/// Database errors.
pub async fn prune(
    connection: &mut PgConnection,
    firsts: &[First],
    Batch { before, from, most }: Batch,
) -> sqlx::Result<(Vec<Place>, Option<DateTime<Utc>>)> {
    let gone = sqlx::query_as(PRUNE);
    let gone = bind_columns!(gone, firsts, (topic, partition, first) => topic.as_str(), *partition, *first);
    let gone: Vec<(String, i32, i64, Nearest)> =
        gone.bind(before).bind(from).bind(most).fetch_all(connection).await?;
    let last = reached(gone.iter().map(|(.., at)| *at));
    let place = |(topic, partition, offset, _)| Place { topic, partition, offset };
    Ok((gone.into_iter().map(place).collect(), last))
}
