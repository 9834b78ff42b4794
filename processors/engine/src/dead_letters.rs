//! The rows of `dead_letter`: the reason, and the place of the record.

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

/// Writes the row of a dead letter in the transaction that moves the offset beyond the record or ends its retries. Its copy is on
/// the dead letter topic already, unless Kafka has refused it.
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
        id = record.header(envelope::ID),
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

/// Settles the dead letters of records that were applied without a redrive.
pub(crate) async fn settle(
    connection: &mut PgConnection,
    group: &Group,
    places: &[&Place],
) -> Result<(), WorkError> {
    let letters = dead_letter::settle(connection, group, places).await?;
    if letters > 0 {
        tracing::info!(
            group = group.id,
            letters,
            "dead letters are settled: their records were sent again and applied"
        );
    }
    Ok(())
}

/// Writes the dead letter of a document that Elasticsearch refuses for good; it was published with the records up to `at`.
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
    // Elasticsearch quotes the refused value.
    let reason = storable(reason);
    tracing::warn!(index, id, reason, "document refused");
    // No stream of the outbox has such a name.
    let stream = stream.as_deref().map(without_nul);
    let document =
        dead_letter::NewDocument { index, id, version: *version, stream: stream.as_deref(), reason: &reason };
    Ok(dead_letter::insert_document(connection, group, at, &document).await?)
}

/// Which of these records are dead letters already: the last letter of each is open or discarded. Such a record is read again only
/// after a reset of the group, since a redrive changes the letter first.
pub(crate) async fn ended(
    connection: &mut PgConnection,
    group: &Group,
    records: &[&Record],
) -> Result<HashSet<Place>, WorkError> {
    let rows = dead_letter::ended(connection, group, &places(records)).await?;
    let ended: HashSet<Place> =
        rows.into_iter().map(|(topic, partition, offset)| Place { topic, partition, offset }).collect();
    for Place { topic, partition, offset } in &ended {
        tracing::info!(
            group = group.id,
            topic,
            partition,
            offset,
            "skipped: read again, and a dead letter already"
        );
    }
    Ok(ended)
}

/// Text that Postgres can store, cut to a readable length.
pub(crate) fn storable(text: &str) -> String {
    bounded(without_nul(text))
}

/// Postgres cannot store the NUL character in text.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
