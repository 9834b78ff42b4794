//! Records that end: their bytes on the dead letter topic, their ledger in Postgres.

use sqlx::PgConnection;

use crate::envelope;
use crate::error::{Fault, WorkError};
use crate::metrics;
use crate::names::dead_letter_topic;
use crate::producer::Producer;
use crate::record::{Header, Record};
use crate::role::Group;

/// Copies a record to its dead letter topic and waits for the acknowledgement, then writes the ledger row in the
/// transaction that moves the offset past it. A crash between the two leaves a second copy, never none.
pub(crate) async fn bury(
    producer: &Producer,
    connection: &mut PgConnection,
    group: &Group,
    record: &Record,
    fault: &Fault,
) -> Result<(), WorkError> {
    let topic = dead_letter_topic(&record.topic, &group.id);
    producer.copy(record, &topic, &reasons(record, fault)).await?;
    metrics::DEAD_LETTERS.with_label_values(&[group.id.as_str(), fault.code]).inc();
    tracing::warn!(
        group = group.id,
        topic = &*record.topic,
        partition = record.partition,
        offset = record.offset,
        code = fault.code,
        reason = fault.message,
        trace = record.header(envelope::TRACEPARENT),
        "dead letter"
    );
    write(connection, group, record, fault).await
}

fn reasons(record: &Record, fault: &Fault) -> Vec<Header> {
    let header =
        |name: &str, value: String| Header { name: name.to_owned(), value: Some(value.into_bytes()) };
    vec![
        header("x-error-code", fault.code.to_owned()),
        header("x-error", fault.message.clone()),
        header("x-failed-at", chrono::Utc::now().to_rfc3339()),
        header("x-attempts", "1".to_owned()),
        header("x-source-topic", record.topic.to_string()),
        header("x-source-partition", record.partition.to_string()),
        header("x-source-offset", record.offset.to_string()),
    ]
}

async fn write(
    connection: &mut PgConnection,
    group: &Group,
    record: &Record,
    fault: &Fault,
) -> Result<(), WorkError> {
    sqlx::query(
        "INSERT INTO dead_letter
             (grp, generation, topic, partition, \"offset\", key, record_type, code, message, attempts)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1)",
    )
    .bind(&group.id)
    .bind(group.generation)
    .bind(&*record.topic)
    .bind(record.partition)
    .bind(record.offset)
    .bind(record.key.as_deref())
    .bind(record.header(envelope::TYPE).map(storable))
    .bind(fault.code)
    .bind(storable(&fault.message))
    .execute(connection)
    .await?;
    Ok(())
}

/// Text as Postgres can store it: it has no room for the NUL character.
pub(crate) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
