//! The outbox: events, rejections, outcomes and commands to be carried to Kafka; also the event store.

use std::borrow::Borrow;
use std::collections::HashMap;

use chrono::{DateTime, Utc};
use millrace_schemas::{CodecError, Command, Kind, frame};
use millrace_store::names::Namespace;
use millrace_store::outbox;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::envelope;
use crate::error::{Fault, WorkError};
use crate::metrics::timed;

/// Bytes of a record's payload, key and headers together, at most. A row that Kafka refuses stops the connector for good and cannot
/// be changed, so the limits of topics and of Connect's producer are above this one.
const RECORD_BYTES_MAX: usize = 1_000_000;
/// Bytes of header names, of headers of constant length, and of the record's framing.
const OVERHEAD_BYTES: usize = 1_000;
/// Bytes of a stream's id, at most: it is in an index, whose entries have about 2,700 bytes.
pub(crate) const STREAM_BYTES_MAX: usize = 1_024;

/// Schema ids by the full names of record types.
pub(crate) type SchemaIds = HashMap<&'static str, u32>;

/// A row of the outbox; only an event has a version.
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

impl OutboxRow {
    /// The row, if it is within the limits of Kafka and of the table.
    ///
    /// # Errors
    /// `key-too-long` and `too-large`, which are hopeless.
    pub(crate) fn checked(self) -> Result<Self, Fault> {
        let (record_type, key) = (self.record_type, self.stream.len());
        if key > STREAM_BYTES_MAX {
            let message = format!("the key of {record_type} has {key} bytes, at most {STREAM_BYTES_MAX} fit");
            return Err(Fault::hopeless("key-too-long", message));
        }
        let size = self.payload.len() + key + self.cause.bytes() + OVERHEAD_BYTES;
        if size > RECORD_BYTES_MAX {
            let message =
                format!("{record_type} has {size} bytes with its headers, at most {RECORD_BYTES_MAX} fit");
            return Err(Fault::hopeless("too-large", message));
        }
        Ok(self)
    }
}

/// The cause of a record, for its headers.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    /// The id of the command, event or timer that led to it.
    pub(crate) id: String,
    pub(crate) correlation_id: Option<String>,
    pub(crate) traceparent: Option<String>,
    /// The time of the record; `None` is the time of the transaction.
    pub(crate) occurred_at: Option<DateTime<Utc>>,
}

impl Cause {
    fn bytes(&self) -> usize {
        let optional = [&self.correlation_id, &self.traceparent];
        self.id.len() + optional.into_iter().flatten().map(String::len).sum::<usize>()
    }

    /// Without header values that cannot be propagated: an event may come from any producer, and its consequences must not fail
    /// because of them.
    pub(crate) fn carried(self) -> Self {
        let correlation_id = self.correlation_id.filter(|id| envelope::can_be_carried(id));
        let traceparent = self.traceparent.as_deref().and_then(envelope::trace);
        Self { correlation_id, traceparent, ..self }
    }
}

/// A command that Millrace itself sends.
///
/// # Errors
/// As [`OutboxRow::checked`].
pub(crate) fn command(
    ids: &SchemaIds,
    id: Uuid,
    command: &Command,
    cause: Cause,
) -> Result<OutboxRow, Fault> {
    let (kind, record_type, stream) = (Kind::Command, command.full_name(), command.key().to_owned());
    let payload = payload(ids, record_type, command.encode())?;
    let (context, version, cause) = (command.context(), None, cause.carried());
    OutboxRow { id, kind, context, stream, record_type, payload, version, cause }.checked()
}

/// The framed bytes of a record.
pub(crate) fn payload(
    ids: &SchemaIds,
    full_name: &str,
    body: Result<Vec<u8>, CodecError>,
) -> Result<Vec<u8>, Fault> {
    let body = body?;
    let unknown = || Fault::new("unknown-schema", format!("{full_name} has no schema id"));
    Ok(frame(*ids.get(full_name).ok_or_else(unknown)?, &body))
}

/// Inserts rows in order: Debezium keeps the order of rows within a transaction.
pub(crate) async fn insert<R: Borrow<OutboxRow>>(
    connection: &mut PgConnection,
    namespace: &Namespace,
    rows: &[R],
) -> Result<(), WorkError> {
    let rows: Vec<outbox::New<'_>> = rows.iter().map(|row| new(namespace, row.borrow())).collect();
    Ok(timed("outbox insert", outbox::insert(connection, &rows)).await?)
}

fn new<'r>(namespace: &Namespace, row: &'r OutboxRow) -> outbox::New<'r> {
    let OutboxRow { id, kind, context, stream, record_type, payload, version, cause } = row;
    outbox::New {
        id: *id,
        context,
        topic: namespace.topic(*kind, context),
        stream,
        record_type,
        payload,
        version: *version,
        // Earlier builds look for the rejection of a command by this column, and would take an outcome for one.
        command: if *kind == Kind::Outcome { "" } else { &cause.id },
        cause: &cause.id,
        correlation_id: cause.correlation_id.as_deref(),
        traceparent: cause.traceparent.as_deref(),
        occurred_at: cause.occurred_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(payload: usize, stream: usize, conversation: usize) -> Result<OutboxRow, &'static str> {
        let correlation_id = Some("c".repeat(conversation));
        let cause = Cause { id: "1".to_owned(), correlation_id, traceparent: None, occurred_at: None };
        let (payload, stream) = (vec![0; payload], "s".repeat(stream));
        let (kind, context, record_type) = (Kind::Event, "orders", "x");
        let row =
            OutboxRow { id: Uuid::nil(), kind, context, stream, record_type, payload, version: None, cause };
        row.checked().map_err(|fault| fault.code)
    }

    #[test]
    fn a_record_that_kafka_would_refuse_is_a_fault() {
        assert!(row(997_000, 1_024, 512).is_ok());
        assert_eq!(row(997_000, 1_024, 1_000).unwrap_err(), "too-large", "headers count too");
        assert_eq!(row(1_000_000, 1, 0).unwrap_err(), "too-large");
        assert_eq!(row(1, 1_025, 0).unwrap_err(), "key-too-long");
        assert_eq!(payload(&SchemaIds::new(), "y", Ok(Vec::new())).unwrap_err().code, "unknown-schema");
    }

    #[test]
    fn what_cannot_be_carried_on_is_left_behind() {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let cause = |correlation: &str, trace: &str| Cause {
            id: "1".to_owned(),
            correlation_id: Some(correlation.to_owned()),
            traceparent: Some(trace.to_owned()),
            occurred_at: None,
        };
        let kept = cause("talk", trace).carried();
        assert_eq!(
            (kept.correlation_id.as_deref(), kept.traceparent.as_deref()),
            (Some("talk"), Some(trace))
        );
        let left = cause(&"talk".repeat(1_000_000), "x").carried();
        assert_eq!((left.correlation_id, left.traceparent), (None, None));
    }
}
