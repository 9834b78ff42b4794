//! The outbox: events, rejections and commands on their way to Kafka, and the event store.

use std::borrow::Borrow;
use std::collections::HashMap;

use chrono::{DateTime, Utc};
use millrace_schemas::{CodecError, Command, Kind, frame};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::{Fault, WorkError};
use crate::names::Namespace;

/// Kafka refuses records above a megabyte by default; a record must never get stuck in the outbox.
const BODY_BYTES_MAX: usize = 900_000;

/// Schema ids by the full names of record types.
pub(crate) type SchemaIds = HashMap<&'static str, u32>;

/// One record on its way; only an event has a version.
#[derive(Debug)]
pub(crate) struct OutboxRow {
    pub(crate) id: Uuid,
    pub(crate) kind: Kind,
    pub(crate) context: &'static str,
    pub(crate) stream: String,
    pub(crate) record_type: &'static str,
    pub(crate) payload: Vec<u8>,
    pub(crate) version: Option<i64>,
    pub(crate) cause: Cause,
}

/// Why a record is written: it is told in its headers.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    /// The id of the command, event or timer that led to it.
    pub(crate) id: String,
    pub(crate) correlation_id: Option<String>,
    pub(crate) traceparent: Option<String>,
    /// When; `None` is the time of the transaction.
    pub(crate) occurred_at: Option<DateTime<Utc>>,
}

/// A command that Millrace itself sends.
pub(crate) fn command(
    ids: &SchemaIds,
    id: Uuid,
    command: &Command,
    cause: Cause,
) -> Result<OutboxRow, Fault> {
    let (kind, record_type, stream) = (Kind::Command, command.full_name(), command.key().to_owned());
    let payload = payload(ids, record_type, command.encode())?;
    Ok(OutboxRow { id, kind, context: command.context(), stream, record_type, payload, version: None, cause })
}

/// The framed bytes of a record.
pub(crate) fn payload(
    ids: &SchemaIds,
    full_name: &str,
    body: Result<Vec<u8>, CodecError>,
) -> Result<Vec<u8>, Fault> {
    let body = body?;
    if body.len() > BODY_BYTES_MAX {
        let size = body.len();
        let message = format!("{full_name} has {size} bytes, at most {BODY_BYTES_MAX} fit");
        return Err(Fault::hopeless("too-large", message));
    }
    let unknown = || Fault::new("unknown-schema", format!("{full_name} has no schema id"));
    Ok(frame(*ids.get(full_name).ok_or_else(unknown)?, &body))
}

/// Inserts in order: Debezium keeps the order of a transaction's rows.
pub(crate) async fn insert<R: Borrow<OutboxRow>>(
    connection: &mut PgConnection,
    namespace: &Namespace,
    rows: &[R],
) -> Result<(), WorkError> {
    let rows: Vec<&OutboxRow> = rows.iter().map(Borrow::borrow).collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO outbox (aggregatetype, topic, id, aggregateid, type, payload, version,
                             traceparent, correlation_id, causation_id, command_id, occurred_at)
         SELECT r.context, r.topic, r.id, r.stream, r.type, r.payload, r.version,
                r.traceparent, r.correlation_id, r.cause, r.cause, coalesce(r.occurred_at, now())
         FROM UNNEST($1::text[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::bytea[], $7::bigint[], $8::text[],
                     $9::text[], $10::text[], $11::timestamptz[])
              WITH ORDINALITY AS r(context, topic, id, stream, type, payload, version, traceparent, correlation_id,
                                   cause, occurred_at, place)
         ORDER BY r.place",
    )
    .bind(rows.iter().map(|r| r.context).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| namespace.topic(r.kind, r.context)).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.id).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.stream.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.record_type).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.payload.as_slice()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.version).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.cause.traceparent.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.cause.correlation_id.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.cause.id.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.cause.occurred_at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_kafka_would_refuse_is_a_fault() {
        let ids = SchemaIds::from([("x", 1)]);
        assert_eq!(payload(&ids, "x", Ok(vec![0; BODY_BYTES_MAX + 1])).unwrap_err().code, "too-large");
        assert!(payload(&ids, "x", Ok(vec![0; BODY_BYTES_MAX])).is_ok());
        assert_eq!(payload(&ids, "y", Ok(Vec::new())).unwrap_err().code, "unknown-schema");
    }
}
