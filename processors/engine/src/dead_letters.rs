//! The ledger of dead letters: why, and where their bytes lie.

use std::collections::HashSet;

use millrace_store::dead_letter::{self, DOCUMENT_REFUSED};
use millrace_store::{Group, Place};
use sqlx::PgConnection;

use crate::elastic::Refusal;
use crate::envelope;
use crate::error::{Fault, WorkError, bounded};
use crate::metrics;
use crate::producer::Delivery;
use crate::record::{Record, places};

/// Writes the ledger row of a record whose copy lies on the dead letter topic, if Kafka took one, in the transaction that
/// moves the offset past the record or ends its retries.
pub(crate) async fn write(
    connection: &mut PgConnection,
    group: &Group,
    record: &Record,
    fault: &Fault,
    attempts: usize,
    copy: Option<Delivery>,
) -> Result<(), WorkError> {
    metrics::DEAD_LETTERS.with_label_values(&[group.id.as_str(), fault.code]).inc();
    tracing::warn!(
        group = group.id,
        topic = &*record.topic,
        partition = record.partition,
        offset = record.offset,
        attempts,
        code = fault.code,
        reason = fault.message,
        trace = record.header(envelope::TRACEPARENT),
        "dead letter"
    );
    let record_type = record.header(envelope::TYPE).map(storable);
    let letter = dead_letter::New {
        topic: &record.topic,
        partition: record.partition,
        offset: record.offset,
        key: record.shown_ordering_key(),
        record_type: record_type.as_deref(),
        code: fault.code,
        message: &storable(&fault.message),
        attempts: i32::try_from(attempts).unwrap_or(i32::MAX),
        copy: copy.map(|copy| (copy.partition, copy.offset)),
        version: envelope::version(record),
    };
    Ok(dead_letter::insert(connection, group, &letter).await?)
}

/// Settles the letters of records that were applied without a redrive.
pub(crate) async fn settle(
    connection: &mut PgConnection,
    group: &Group,
    places: &[&Place],
) -> Result<(), WorkError> {
    let letters = dead_letter::settle(connection, group, places).await?;
    if letters > 0 {
        tracing::info!(group = group.id, letters, "dead letters were sent again and are applied");
    }
    Ok(())
}

/// Writes the ledger row of a document that Elasticsearch refuses for good: one published with the records up to `at`.
///
/// # Errors
/// [`WorkError`].
pub async fn refused(
    connection: &mut PgConnection,
    group: &Group,
    at: &Place,
    index: &str,
    refusal: &Refusal,
) -> Result<(), WorkError> {
    let Refusal { id, version, stream, reason } = refusal;
    metrics::DEAD_LETTERS.with_label_values(&[group.id.as_str(), DOCUMENT_REFUSED]).inc();
    // Elasticsearch quotes what it refuses.
    let reason = storable(reason);
    tracing::warn!(index, id, reason, "document refused");
    // No stream of the outbox has such a name.
    let stream = stream.as_deref().map(without_nul);
    let document =
        dead_letter::NewDocument { index, id, version: *version, stream: stream.as_deref(), reason: &reason };
    Ok(dead_letter::insert_document(connection, group, at, &document).await?)
}

/// Which of these records are dead letters already: the last letter of each is dead or discarded. Such a record is read
/// again only after a reset of the group; an operator's redrive has changed its letter first.
pub(crate) async fn ended(
    connection: &mut PgConnection,
    group: &Group,
    records: &[&Record],
) -> Result<HashSet<Place>, WorkError> {
    let rows = dead_letter::ended(connection, group, &places(records)).await?;
    let ended: HashSet<Place> =
        rows.into_iter().map(|(topic, partition, offset)| Place { topic, partition, offset }).collect();
    for Place { topic, partition, offset } in &ended {
        tracing::info!(group = group.id, topic, partition, offset, "read again: its dead letter stands");
    }
    Ok(ended)
}

/// Text as Postgres can store it, and as people can read it: what is long is cut.
pub(crate) fn storable(text: &str) -> String {
    bounded(without_nul(text))
}

/// Postgres's text has no room for the NUL character.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
