//! The outbox: events and rejections on their way to Kafka, and the event store.

use chrono::{DateTime, Utc};
use millrace_schemas::Kind;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::WorkError;
use crate::names::Namespace;

/// One record on its way; a rejection has no version.
pub(super) struct OutboxRow {
    pub(super) id: Uuid,
    pub(super) stream: String,
    pub(super) record_type: &'static str,
    pub(super) payload: Vec<u8>,
    pub(super) version: Option<i64>,
    pub(super) traceparent: Option<String>,
    pub(super) correlation_id: Option<String>,
    pub(super) command_id: String,
    pub(super) occurred_at: DateTime<Utc>,
}

/// Inserts in order: Debezium keeps the order of a transaction's rows.
pub(super) async fn insert(
    connection: &mut PgConnection,
    namespace: &Namespace,
    context: &str,
    rows: &[OutboxRow],
) -> Result<(), WorkError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO outbox (aggregatetype, topic, id, aggregateid, type, payload, version,
                             traceparent, correlation_id, causation_id, command_id, occurred_at)
         SELECT $1, CASE WHEN r.version IS NULL THEN $3 ELSE $2 END, r.id, r.stream, r.type, r.payload, r.version,
                r.traceparent, r.correlation_id, r.command_id, r.command_id, r.occurred_at
         FROM UNNEST($4::uuid[], $5::text[], $6::text[], $7::bytea[], $8::bigint[], $9::text[], $10::text[],
                     $11::text[], $12::timestamptz[])
              WITH ORDINALITY AS r(id, stream, type, payload, version, traceparent, correlation_id,
                                   command_id, occurred_at, place)
         ORDER BY r.place",
    )
    .bind(context)
    .bind(namespace.topic(Kind::Event, context))
    .bind(namespace.topic(Kind::Rejection, context))
    .bind(rows.iter().map(|r| r.id).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.stream.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.record_type).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.payload.as_slice()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.version).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.traceparent.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.correlation_id.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.command_id.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.occurred_at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
