//! Records that wait for their turn, bytes and headers, in Postgres.

use std::sync::OnceLock;

use millrace_store::{Group, Place};
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::commands::Identity;
use crate::dead_letters::storable;
use crate::envelope;
use crate::error::WorkError;
use crate::record::{Header, Record};

/// What one transaction drains at most, in records and in bytes.
pub(super) const DRAIN_RECORDS_MAX: i64 = 1_000;
const DRAIN_BYTES_MAX: i64 = 4 << 20;
/// No record type has so long a name.
const TYPE_BYTES_MAX: usize = 512;

/// Parks records of keys; one that is parked already stays as it is.
pub(super) async fn insert(
    connection: &mut PgConnection,
    group: &Group,
    records: &[&Record],
    versioned: bool,
) -> Result<(), WorkError> {
    if records.is_empty() {
        return Ok(());
    }
    let identities: Vec<Identity> = records.iter().map(|record| Identity::to_file(record)).collect();
    sqlx::query(
        "INSERT INTO parked
             (grp, generation, topic, partition, \"offset\", version, timestamp, key, record_key, value, headers,
              keyless, record_id, record_source, record_type)
         SELECT $1, $2, * FROM UNNEST($3::text[], $4::int[], $5::bigint[], $6::bigint[], $7::bigint[],
                                      $8::bytea[], $9::bytea[], $10::bytea[], $11::jsonb[], $12::bool[],
                                      $13::text[], $14::text[], $15::text[])
         ON CONFLICT DO NOTHING",
    )
    .bind(&group.id)
    .bind(group.generation)
    .bind(records.iter().map(|record| &*record.topic).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.partition).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.offset).collect::<Vec<_>>())
    .bind(records.iter().map(|record| envelope::version(record).filter(|_| versioned)).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.timestamp_ms).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.turn()).collect::<Vec<_>>())
    .bind(records.iter().map(|record| own_key(record)).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.value.as_deref()).collect::<Vec<_>>())
    .bind(records.iter().map(|record| Json(&record.headers)).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.key.is_none()).collect::<Vec<_>>())
    .bind(identities.iter().map(|identity| identity.id.as_str()).collect::<Vec<_>>())
    .bind(identities.iter().map(|identity| identity.source.as_str()).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record_type(record)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// The type that a record tells, when it can be one.
fn record_type(record: &Record) -> Option<String> {
    record.header(envelope::TYPE).filter(|name| name.len() <= TYPE_BYTES_MAX).map(storable)
}

/// The record's own key, where it waits under another.
fn own_key(record: &Record) -> Option<&[u8]> {
    record.key.as_deref().filter(|key| *key != record.turn())
}

type Row =
    (String, i32, i64, Option<i64>, Vec<u8>, Option<Vec<u8>>, bool, Option<Vec<u8>>, Json<Vec<Header>>);

fn record((topic, partition, offset, timestamp_ms, turn, own_key, keyless, value, headers): Row) -> Record {
    let (key, turn) = match own_key {
        None if !keyless => (Some(turn), OnceLock::new()),
        own => (own, OnceLock::from(turn)),
    };
    let record = Record::at(&topic, partition, offset, key, value, headers.0);
    Record { timestamp_ms, turn, ..record }
}

/// What waits of a key, or what of it came from one partition, in its order: as much as one transaction takes and at most
/// `limit`, at least one record.
pub(super) async fn in_turn(
    connection: &mut PgConnection,
    group: &Group,
    (topic, key): (&str, &[u8]),
    partition: Option<i32>,
    limit: i64,
) -> Result<Vec<Record>, WorkError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT topic, partition, \"offset\", timestamp, key, record_key, keyless, value, headers FROM (
             SELECT *, sum(octet_length(value)) OVER turn AS bytes, row_number() OVER turn AS place
             FROM parked
             WHERE grp = $1 AND generation = $2 AND topic = $3 AND key = $4 AND drained_offset IS NULL
               AND ($7::int IS NULL OR partition = $7)
             WINDOW turn AS (ORDER BY version, \"offset\" ROWS UNBOUNDED PRECEDING)
         ) AS waiting
         WHERE place = 1 OR bytes <= $5
         ORDER BY place LIMIT $6",
    )
    .bind(&group.id)
    .bind(group.generation)
    .bind(topic)
    .bind(key)
    .bind(DRAIN_BYTES_MAX)
    .bind(limit)
    .bind(partition)
    .fetch_all(&mut *connection)
    .await?;
    Ok(rows.into_iter().map(record).collect())
}

/// One parked record.
pub(super) async fn at(
    connection: &mut PgConnection,
    group: &Group,
    place: &Place,
) -> Result<Option<Record>, WorkError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT topic, partition, \"offset\", timestamp, key, record_key, keyless, value, headers FROM parked
         WHERE grp = $1 AND generation = $2 AND topic = $3 AND partition = $4 AND \"offset\" = $5
           AND drained_offset IS NULL",
    )
    .bind(&group.id)
    .bind(group.generation)
    .bind(&place.topic)
    .bind(place.partition)
    .bind(place.offset)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(record))
}

/// Records that wait no more. Where documents go out after the commit they stay, marked with the place that drained
/// them, until that place is published: a crash in between must find again what they changed.
pub(super) async fn release(
    connection: &mut PgConnection,
    group: &Group,
    drained: &[&Record],
    by: Option<&Place>,
) -> Result<(), WorkError> {
    if drained.is_empty() {
        return Ok(());
    }
    let statement = match by {
        None => {
            "DELETE FROM parked USING UNNEST($3::text[], $4::int[], $5::bigint[]) AS gone(topic, partition, \"offset\")
             WHERE parked.grp = $1 AND parked.generation = $2 AND parked.topic = gone.topic
               AND parked.partition = gone.partition AND parked.\"offset\" = gone.\"offset\""
        }
        Some(_) => {
            "UPDATE parked SET drained_topic = $6, drained_partition = $7, drained_offset = $8
             FROM UNNEST($3::text[], $4::int[], $5::bigint[]) AS gone(topic, partition, \"offset\")
             WHERE parked.grp = $1 AND parked.generation = $2 AND parked.topic = gone.topic
               AND parked.partition = gone.partition AND parked.\"offset\" = gone.\"offset\""
        }
    };
    let mut query = sqlx::query(statement)
        .bind(&group.id)
        .bind(group.generation)
        .bind(drained.iter().map(|record| &*record.topic).collect::<Vec<_>>())
        .bind(drained.iter().map(|record| record.partition).collect::<Vec<_>>())
        .bind(drained.iter().map(|record| record.offset).collect::<Vec<_>>());
    if let Some(place) = by {
        query = query.bind(&place.topic).bind(place.partition).bind(place.offset);
    }
    query.execute(connection).await?;
    Ok(())
}

/// Forgets drained records whose documents are published.
pub(super) async fn forget_published(connection: &mut PgConnection, group: &Group) -> Result<(), WorkError> {
    sqlx::query(
        "DELETE FROM parked USING consumer_offset AS held
         WHERE parked.grp = $1 AND parked.generation = $2 AND parked.drained_offset IS NOT NULL
           AND held.grp = parked.grp AND held.generation = parked.generation AND held.topic = parked.drained_topic
           AND held.partition = parked.drained_partition AND held.published > parked.drained_offset",
    )
    .bind(&group.id)
    .bind(group.generation)
    .execute(connection)
    .await?;
    Ok(())
}

/// The records that were drained by this batch's transaction.
pub(super) async fn drained(
    connection: &mut PgConnection,
    group: &Group,
    batch: &[&Record],
) -> Result<Vec<Record>, WorkError> {
    let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Ok(Vec::new()) };
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT topic, partition, \"offset\", timestamp, key, record_key, keyless, value, headers FROM parked
         WHERE grp = $1 AND generation = $2
           AND drained_topic = $3 AND drained_partition = $4 AND drained_offset BETWEEN $5 AND $6",
    )
    .bind(&group.id)
    .bind(group.generation)
    .bind(&*first.topic)
    .bind(first.partition)
    .bind(first.offset)
    .bind(last.offset)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(record).collect())
}
