//! The ledger of records that ended: why, and where their bytes lie.

use std::collections::HashSet;

use millrace_store::{Group, Place};
use sqlx::PgConnection;

use crate::elastic::Refusal;
use crate::envelope;
use crate::error::{Fault, WorkError, bounded};
use crate::metrics;
use crate::producer::Delivery;
use crate::record::Record;

/// The code of a letter that is no record's: Elasticsearch refused the document of a row.
pub const DOCUMENT_REFUSED: &str = "document-refused";

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
    sqlx::query(
        "INSERT INTO dead_letter
             (grp, generation, topic, partition, \"offset\", key, record_type, code, message, attempts,
              copy_partition, copy_offset, version)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(&group.id)
    .bind(group.generation)
    .bind(&*record.topic)
    .bind(record.partition)
    .bind(record.offset)
    .bind(record.told_turn())
    .bind(record.header(envelope::TYPE).map(storable))
    .bind(fault.code)
    .bind(storable(&fault.message))
    .bind(i32::try_from(attempts).unwrap_or(i32::MAX))
    .bind(copy.map(|copy| copy.partition))
    .bind(copy.map(|copy| copy.offset))
    .bind(envelope::version(record))
    .execute(connection)
    .await?;
    Ok(())
}

/// The records of these places have had their effect without a redrive: their letters are settled.
pub(crate) async fn settle(
    connection: &mut PgConnection,
    group: &Group,
    places: &[&Place],
) -> Result<(), WorkError> {
    if places.is_empty() {
        return Ok(());
    }
    let settled = sqlx::query(
        "UPDATE dead_letter AS letter SET status = 'redriven'
         FROM UNNEST($3::text[], $4::int[], $5::bigint[]) AS done(topic, partition, \"offset\")
         WHERE letter.topic = done.topic AND letter.partition = done.partition AND letter.\"offset\" = done.\"offset\"
           AND letter.grp = $1 AND letter.generation = $2 AND letter.status = 'dead' AND letter.code <> $6",
    )
    .bind(&group.id)
    .bind(group.generation)
    .bind(places.iter().map(|place| place.topic.as_str()).collect::<Vec<_>>())
    .bind(places.iter().map(|place| place.partition).collect::<Vec<_>>())
    .bind(places.iter().map(|place| place.offset).collect::<Vec<_>>())
    .bind(DOCUMENT_REFUSED)
    .execute(connection)
    .await?;
    if settled.rows_affected() > 0 {
        tracing::info!(
            group = group.id,
            letters = settled.rows_affected(),
            "dead letters that came back had their effect"
        );
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
    sqlx::query(
        "INSERT INTO dead_letter (grp, generation, topic, partition, \"offset\", key, record_type, code, message,
                                  attempts, version, stream)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, $10, $11)",
    )
    .bind(&group.id)
    .bind(group.generation)
    .bind(&at.topic)
    .bind(at.partition)
    .bind(at.offset)
    .bind(id.as_bytes())
    .bind(index)
    .bind(DOCUMENT_REFUSED)
    .bind(reason)
    .bind(version)
    // No stream of the outbox has such a name.
    .bind(stream.as_deref().map(without_nul))
    .execute(connection)
    .await?;
    Ok(())
}

/// Which of these records came to their end before: the last letter of each is dead or discarded. Only a reset of the
/// group, or an operator's redrive, shows such a record again, and a redrive has changed its letter first.
pub(crate) async fn ended(
    connection: &mut PgConnection,
    group: &Group,
    records: &[&Record],
) -> Result<HashSet<Place>, WorkError> {
    if records.is_empty() {
        return Ok(HashSet::new());
    }
    let rows: Vec<(String, i32, i64)> = sqlx::query_as(
        "SELECT l.topic, l.partition, l.\"offset\"
         FROM UNNEST($3::text[], $4::int[], $5::bigint[]) AS r(topic, partition, \"offset\")
         JOIN dead_letter AS l ON l.topic = r.topic AND l.partition = r.partition AND l.\"offset\" = r.\"offset\"
         WHERE l.grp = $1 AND l.generation = $2 AND l.code <> $6
         GROUP BY l.topic, l.partition, l.\"offset\"
         HAVING (array_agg(l.status ORDER BY l.id DESC))[1] IN ('dead', 'discarded')",
    )
    .bind(&group.id)
    .bind(group.generation)
    .bind(records.iter().map(|record| &*record.topic).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.partition).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.offset).collect::<Vec<_>>())
    .bind(DOCUMENT_REFUSED)
    .fetch_all(connection)
    .await?;
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
