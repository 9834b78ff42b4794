//! The table `parked`: records that wait for a retry or behind another record, with bytes and headers.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor, Row as _};

use crate::columns::bind_columns;
use crate::consumer_offset::Partition;
use crate::statements::statements;
use crate::timestamp::Nearest;
use crate::{Group, Place};

statements! {
    INSERT = "INSERT INTO parked
             (grp, generation, topic, partition, \"offset\", version, timestamp, key, record_key, value, headers,
              keyless, record_id, record_source, record_type)
         SELECT $1, $2, * FROM UNNEST($3::text[], $4::int[], $5::bigint[], $6::bigint[], $7::bigint[],
                                      $8::bytea[], $9::bytea[], $10::bytea[], $11::jsonb[], $12::bool[],
                                      $13::text[], $14::text[], $15::text[])
         ON CONFLICT DO NOTHING";
    OF_KEY = "SELECT topic, partition, \"offset\", timestamp, key, record_key, keyless, value, headers FROM (
             SELECT *, sum(octet_length(value)) OVER ordered AS bytes, row_number() OVER ordered AS place
             FROM parked
             WHERE grp = $1 AND generation = $2 AND topic = $3 AND key = $4 AND drained_offset IS NULL
               AND ($7::int IS NULL OR partition = $7)
             WINDOW ordered AS (ORDER BY version, \"offset\" >= 0, partition, \"offset\" ROWS UNBOUNDED PRECEDING)
         ) AS waiting
         WHERE place = 1 OR bytes <= $5
         ORDER BY place LIMIT $6";
    AT = "SELECT topic, partition, \"offset\", timestamp, key, record_key, keyless, value, headers FROM parked
         WHERE grp = $1 AND generation = $2 AND topic = $3 AND partition = $4 AND \"offset\" = $5
           AND drained_offset IS NULL";
    REMOVE = "DELETE FROM parked USING UNNEST($3::text[], $4::int[], $5::bigint[]) AS done(topic, partition, \"offset\")
             WHERE parked.grp = $1 AND parked.generation = $2 AND parked.topic = done.topic
               AND parked.partition = done.partition AND parked.\"offset\" = done.\"offset\"";
    DRAIN = "UPDATE parked SET drained_topic = $6, drained_partition = $7, drained_offset = $8
             FROM UNNEST($3::text[], $4::int[], $5::bigint[]) AS done(topic, partition, \"offset\")
             WHERE parked.grp = $1 AND parked.generation = $2 AND parked.topic = done.topic
               AND parked.partition = done.partition AND parked.\"offset\" = done.\"offset\"";
    FORGET_PUBLISHED = "DELETE FROM parked USING consumer_offset AS reached
         WHERE parked.grp = $1 AND parked.generation = $2 AND parked.drained_offset IS NOT NULL
           AND reached.grp = parked.grp AND reached.generation = parked.generation AND reached.topic = parked.drained_topic
           AND reached.partition = parked.drained_partition AND reached.published > parked.drained_offset";
    DRAINED = "SELECT topic, partition, \"offset\", timestamp, key, record_key, keyless, value, headers FROM parked
         WHERE grp = $1 AND generation = $2
           AND drained_topic = $3 AND drained_partition = $4 AND drained_offset BETWEEN $5 AND $6";
    FORGET_DRAINED = "DELETE FROM parked
             WHERE grp = $1 AND generation = $2 AND drained_topic = $3 AND drained_partition = $4";
    SHIFT_OFFSETS = "UPDATE parked SET \"offset\" = \"offset\" + $5
             WHERE grp = $1 AND generation = $2 AND topic = $3 AND partition = $4 AND \"offset\" >= 0";
    WAITING = "SELECT p.record_id, p.record_source, p.record_type, p.topic, p.partition, p.\"offset\", p.key, p.timestamp,
                p.parked_at, b.attempts, b.due_at, b.code, b.message, blocking.record_id AS blocking_id,
                b.status = 'retrying' AND b.partition = p.partition AND b.\"offset\" = p.\"offset\" AS is_blocking
         FROM parked AS p
         JOIN blocked_key AS b
              ON b.grp = p.grp AND b.generation = p.generation AND b.topic = p.topic AND b.key = p.key
         LEFT JOIN parked AS blocking
              ON blocking.grp = b.grp AND blocking.generation = b.generation AND blocking.topic = b.topic
              AND blocking.partition = b.partition AND blocking.\"offset\" = b.\"offset\"
         WHERE p.grp = $1 AND p.generation = $2 AND p.drained_offset IS NULL
           AND ($3::text[] IS NULL OR p.record_id = ANY($3)) AND ($4::text IS NULL OR p.topic = $4)
           AND ($5::bytea IS NULL OR p.key = $5) AND ($6::timestamptz IS NULL OR p.parked_at >= $6)
         ORDER BY p.parked_at DESC, p.topic, p.partition, p.\"offset\" DESC LIMIT $7";
    REMOVE_ALL = "DELETE FROM parked WHERE grp = $1 AND generation = $2";
}

/// A record to be parked; headers of any type that is JSON.
#[derive(Debug, Clone)]
pub struct New<'r, H> {
    /// Its topic.
    pub topic: &'r str,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its version, if it has one.
    pub version: Option<i64>,
    /// Its timestamp in Kafka, in milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// Its ordering key.
    pub key: &'r [u8],
    /// Its Kafka key, if that is not the ordering key.
    pub record_key: Option<&'r [u8]>,
    /// Whether it has no Kafka key.
    pub keyless: bool,
    /// Its value.
    pub value: Option<&'r [u8]>,
    /// Its headers.
    pub headers: &'r H,
    /// Its `ce_id`, or the id made from its place.
    pub id: String,
    /// Its `ce_source`.
    pub source: String,
    /// The type in its header.
    pub record_type: Option<String>,
}

/// Parks records; the row of a record that is already parked stays as it is.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn insert<H: Serialize + Sync>(
    connection: &mut PgConnection,
    group: &Group,
    rows: &[New<'_, H>],
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    bind_columns!(sqlx::query(INSERT).bind(&group.id).bind(group.generation), rows, row =>
        row.topic, row.partition, row.offset, row.version, row.timestamp_ms, row.key, row.record_key,
        row.value, Json(row.headers), row.keyless, row.id.as_str(), row.source.as_str(),
        row.record_type.as_deref()
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// A parked record.
#[derive(Debug, Clone)]
pub struct Parked<H> {
    /// Its place.
    pub place: Place,
    /// Its timestamp in Kafka, in milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// Its ordering key.
    pub key: Vec<u8>,
    /// Its Kafka key, if that is not the ordering key.
    pub record_key: Option<Vec<u8>>,
    /// Whether it has no Kafka key.
    pub keyless: bool,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: H,
}

type Row<H> = (String, i32, i64, Option<i64>, Vec<u8>, Option<Vec<u8>>, bool, Option<Vec<u8>>, Json<H>);

fn parked<H>(
    (topic, partition, offset, timestamp_ms, key, record_key, keyless, value, headers): Row<H>,
) -> Parked<H> {
    let place = Place { topic, partition, offset };
    Parked { place, timestamp_ms, key, record_key, keyless, value, headers: headers.0 }
}

/// The limit on the records of a key that are read at a time; one is always read.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// Records.
    pub records: i64,
    /// Bytes.
    pub bytes: i64,
}

/// The waiting records of an ordering key, or only those of one partition, in order: by version, else those of a deleted topic
/// first, then by partition and offset. When a topic is enlarged, a key can only move to a higher partition.
///
/// # Errors
/// Database errors.
pub async fn of_key<H: DeserializeOwned + Send + Unpin + 'static>(
    connection: &mut PgConnection,
    group: &Group,
    (topic, key): (&str, &[u8]),
    partition: Option<i32>,
    most: Most,
) -> sqlx::Result<Vec<Parked<H>>> {
    let rows: Vec<Row<H>> = sqlx::query_as(OF_KEY)
        .bind(&group.id)
        .bind(group.generation)
        .bind(topic)
        .bind(key)
        .bind(most.bytes)
        .bind(most.records)
        .bind(partition)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(parked).collect())
}

/// The parked record of a place, if there is one.
///
/// # Errors
/// Database errors.
pub async fn at<H: DeserializeOwned + Send + Unpin + 'static>(
    connection: &mut PgConnection,
    group: &Group,
    place: &Place,
) -> sqlx::Result<Option<Parked<H>>> {
    let row = sqlx::query_as(AT).bind(&group.id).bind(group.generation).bind(&place.topic);
    let row: Option<Row<H>> = row.bind(place.partition).bind(place.offset).fetch_optional(connection).await?;
    Ok(row.map(parked))
}

/// Releases records (topic, partition, offset) that no longer wait: removes them, or marks them with the place that drained them.
///
/// # Errors
/// Database errors.
pub async fn release(
    connection: &mut PgConnection,
    group: &Group,
    drained: &[(&str, i32, i64)],
    by: Option<&Place>,
) -> sqlx::Result<()> {
    if drained.is_empty() {
        return Ok(());
    }
    let release =
        sqlx::query(if by.is_some() { DRAIN } else { REMOVE }).bind(&group.id).bind(group.generation);
    let mut query =
        bind_columns!(release, drained, (topic, partition, offset) => *topic, *partition, *offset);
    if let Some(place) = by {
        query = query.bind(&place.topic).bind(place.partition).bind(place.offset);
    }
    query.execute(connection).await.map(|_| ())
}

/// Removes drained records whose documents are published.
///
/// # Errors
/// Database errors.
pub async fn forget_published(connection: &mut PgConnection, group: &Group) -> sqlx::Result<()> {
    sqlx::query(FORGET_PUBLISHED).bind(&group.id).bind(group.generation).execute(connection).await.map(|_| ())
}

/// The records that were drained by records of a partition from `first` to `last`.
///
/// # Errors
/// Database errors.
pub async fn drained<H: DeserializeOwned + Send + Unpin + 'static>(
    connection: &mut PgConnection,
    group: &Group,
    (topic, partition): (&str, i32),
    (first, last): (i64, i64),
) -> sqlx::Result<Vec<Parked<H>>> {
    let rows = sqlx::query_as(DRAINED).bind(&group.id).bind(group.generation).bind(topic).bind(partition);
    let rows: Vec<Row<H>> = rows.bind(first).bind(last).fetch_all(connection).await?;
    Ok(rows.into_iter().map(parked).collect())
}

/// Removes the records that were drained by records of a partition.
///
/// # Errors
/// Database errors.
pub async fn forget_drained(connection: &mut PgConnection, at: Partition<'_>) -> sqlx::Result<()> {
    at.bound(FORGET_DRAINED).execute(connection).await.map(|_| ())
}

/// Adds `by` to the offsets of parked records; for records of a deleted topic the result is below zero.
///
/// # Errors
/// Database errors.
pub async fn shift_offsets(connection: &mut PgConnection, at: Partition<'_>, by: i64) -> sqlx::Result<()> {
    at.bound(SHIFT_OFFSETS).bind(by).execute(connection).await.map(|_| ())
}

/// Removes the rows of a generation.
///
/// # Errors
/// Database errors.
pub async fn remove(connection: &mut PgConnection, group: &str, generation: i32) -> sqlx::Result<()> {
    sqlx::query(REMOVE_ALL).bind(group).bind(generation).execute(connection).await.map(|_| ())
}

/// A record that is not applied yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// `ce_id`, else its place.
    pub id: String,
    /// `ce_source`, else its topic.
    pub source: String,
    /// `ce_type`, when it has one.
    pub record_type: Option<String>,
    /// Its place.
    pub place: Place,
    /// Its ordering key.
    pub key: Vec<u8>,
    /// Its timestamp in Kafka, in milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// When it was first tried or parked.
    pub received_at: DateTime<Utc>,
    /// What it waits for.
    pub waits_for: WaitsFor,
}

/// What a record waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitsFor {
    /// The next attempt.
    Retrying {
        /// Attempts so far.
        attempts: i32,
        /// When the next one is due.
        due_at: DateTime<Utc>,
        /// Code and message of the last error; `None` when it was not tried yet.
        reason: Option<(String, String)>,
    },
    /// Another record of its key, which is being retried or is a dead letter.
    Behind {
        /// The id of that record; `None` when a version is missing.
        id: Option<String>,
    },
}

/// A filter of records.
#[derive(Debug, Clone, Default)]
pub struct Which<'w> {
    /// Only those with one of these ids.
    pub ids: Option<&'w [&'w str]>,
    /// Only of this topic.
    pub topic: Option<&'w str>,
    /// Only with this ordering key.
    pub key: Option<&'w [u8]>,
    /// Only those that arrived since this time.
    pub since: Option<DateTime<Utc>>,
    /// At most this many; `None` for all.
    pub limit: Option<i64>,
}

/// The waiting records of a group, the newest first.
///
/// # Errors
/// Database errors.
pub async fn waiting(
    executor: impl PgExecutor<'_>,
    group: &Group,
    which: &Which<'_>,
) -> sqlx::Result<Vec<Waiting>> {
    let rows = sqlx::query(WAITING)
        .bind(&group.id)
        .bind(group.generation)
        .bind(which.ids)
        .bind(which.topic)
        .bind(which.key)
        .bind(which.since)
        .bind(which.limit)
        .fetch_all(executor)
        .await?;
    rows.iter().map(found).collect()
}

fn found(row: &PgRow) -> sqlx::Result<Waiting> {
    let waits_for = if row.try_get::<Option<bool>, _>("is_blocking")? == Some(true) {
        let reason: (Option<String>, Option<String>) = (row.try_get("code")?, row.try_get("message")?);
        WaitsFor::Retrying {
            attempts: row.try_get("attempts")?,
            due_at: row.try_get::<Nearest, _>("due_at")?.0,
            reason: reason.0.map(|code| (code, reason.1.unwrap_or_default())),
        }
    } else {
        WaitsFor::Behind { id: row.try_get("blocking_id")? }
    };
    Ok(Waiting {
        id: row.try_get::<Option<String>, _>("record_id")?.unwrap_or_default(),
        source: row.try_get::<Option<String>, _>("record_source")?.unwrap_or_default(),
        record_type: row.try_get("record_type")?,
        place: Place {
            topic: row.try_get("topic")?,
            partition: row.try_get("partition")?,
            offset: row.try_get("offset")?,
        },
        key: row.try_get("key")?,
        timestamp_ms: row.try_get("timestamp")?,
        received_at: row.try_get::<Nearest, _>("parked_at")?.0,
        waits_for,
    })
}
