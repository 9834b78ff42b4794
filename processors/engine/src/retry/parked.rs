//! Parked records, bytes and headers, in Postgres.

use std::sync::OnceLock;

use bytes::Bytes;
use millrace_store::parked::{self, Most, Parked};
use millrace_store::{Group, Place};
use sqlx::PgConnection;

use crate::commands::Identity;
use crate::dead_letters::storable;
use crate::envelope;
use crate::error::WorkError;
use crate::record::{Header, Record, places};

/// Records and bytes that one transaction drains, at most.
pub(super) const DRAIN_RECORDS_MAX: i64 = 1_000;
const DRAIN_BYTES_MAX: i64 = 4 << 20;
/// A longer text is not the name of a record type.
const TYPE_BYTES_MAX: usize = 512;

/// Parks records; the row of a record that is already parked stays as it is.
pub(super) async fn insert(
    connection: &mut PgConnection,
    group: &Group,
    records: &[&Record],
    versioned: bool,
) -> Result<(), WorkError> {
    let rows: Vec<_> = records.iter().map(|record| new(record, versioned)).collect();
    Ok(parked::insert(connection, group, &rows).await?)
}

fn new(record: &Record, versioned: bool) -> parked::New<'_, Vec<Header>> {
    let Identity { id, source } = Identity::to_file(record);
    parked::New {
        topic: &record.topic,
        partition: record.partition,
        offset: record.offset,
        version: envelope::version(record).filter(|_| versioned),
        timestamp_ms: record.timestamp_ms,
        key: record.ordering_key(),
        record_key: own_key(record),
        keyless: record.key.is_none(),
        value: record.value.as_deref(),
        headers: &record.headers,
        id,
        source,
        record_type: record_type(record),
    }
}

/// The type in a record's header, if it can be the name of one.
fn record_type(record: &Record) -> Option<String> {
    record.header(envelope::TYPE).filter(|name| name.len() <= TYPE_BYTES_MAX).map(storable)
}

/// The record's Kafka key, if it waits under another ordering key.
fn own_key(record: &Record) -> Option<&[u8]> {
    record.key.as_deref().filter(|key| *key != record.ordering_key())
}

fn record(parked: Parked<Vec<Header>>) -> Record {
    let Parked { place, timestamp_ms, key: ordering_key, record_key, keyless, value, headers } = parked;
    let (key, ordering_key) = match record_key {
        None if !keyless => (Some(ordering_key), OnceLock::new()),
        own => (own, OnceLock::from(ordering_key)),
    };
    let (key, value) = (key.map(Bytes::from), value.map(Bytes::from));
    let record = Record::at(&place.topic, place.partition, place.offset, key, value, headers);
    Record { timestamp_ms, ordering_key, ..record }
}

/// The waiting records of a key, or only those of one partition, in order: as many as one transaction drains, at most `limit` and
/// at least one.
pub(super) async fn of_key(
    connection: &mut PgConnection,
    group: &Group,
    key: (&str, &[u8]),
    partition: Option<i32>,
    limit: i64,
) -> Result<Vec<Record>, WorkError> {
    let most = Most { records: limit, bytes: DRAIN_BYTES_MAX };
    let waiting = parked::of_key(connection, group, key, partition, most).await?;
    Ok(waiting.into_iter().map(record).collect())
}

/// One parked record.
pub(super) async fn at(
    connection: &mut PgConnection,
    group: &Group,
    place: &Place,
) -> Result<Option<Record>, WorkError> {
    Ok(parked::at(connection, group, place).await?.map(record))
}

/// Releases records that no longer wait. If the group publishes documents, the rows stay, marked with the place that drained them,
/// until that place is published: after a crash in between, the documents are sent again.
pub(super) async fn release(
    connection: &mut PgConnection,
    group: &Group,
    drained: &[&Record],
    by: Option<&Place>,
) -> Result<(), WorkError> {
    Ok(parked::release(connection, group, &places(drained), by).await?)
}

/// The records that were drained by this batch's transaction.
pub(super) async fn drained(
    connection: &mut PgConnection,
    group: &Group,
    batch: &[&Record],
) -> Result<Vec<Record>, WorkError> {
    let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Ok(Vec::new()) };
    let at = (&*first.topic, first.partition);
    let drained = parked::drained(connection, group, at, (first.offset, last.offset)).await?;
    Ok(drained.into_iter().map(record).collect())
}
