//! The ledger of records that ended: why, and where their bytes lie.

use sqlx::PgConnection;

use crate::envelope;
use crate::error::{Fault, WorkError};
use crate::metrics;
use crate::producer::Delivery;
use crate::record::Record;
use crate::role::Group;

/// Writes the ledger row of a record whose copy lies on the dead letter topic, in the transaction that moves the offset
/// past the record or ends its retries.
pub(crate) async fn write(
    connection: &mut PgConnection,
    group: &Group,
    record: &Record,
    fault: &Fault,
    attempts: usize,
    copy: Delivery,
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
    .bind(record.turn())
    .bind(record.header(envelope::TYPE).map(storable))
    .bind(fault.code)
    .bind(storable(&fault.message))
    .bind(i32::try_from(attempts).unwrap_or(i32::MAX))
    .bind(copy.partition)
    .bind(copy.offset)
    .bind(envelope::version(record))
    .execute(connection)
    .await?;
    Ok(())
}

/// Text as Postgres can store it: it has no room for the NUL character.
pub(crate) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
