//! Events, rejections, outcomes and commands of the outbox, as the records that Debezium makes of them: to fold views without Kafka, and to
//! write missing records to topics again.

pub(crate) mod pace;
pub(crate) mod refold;
pub mod skip;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use millrace_engine::{Header, Record, envelope};
use millrace_store::names::Namespace;
use millrace_store::outbox::{self, BYTES_MAX, Row, Span};
use sqlx::PgExecutor;
use uuid::Uuid;

/// An event of the outbox.
pub struct Stored {
    /// The context.
    pub context: String,
    /// The stream.
    pub stream: String,
    /// Its version, from 1.
    pub version: i64,
    /// The full name of its type.
    pub type_: String,
    /// When it was decided.
    pub occurred_at: DateTime<Utc>,
    /// The record on its topic.
    pub record: Record,
}

impl Stored {
    /// The stream.
    pub fn stream(&self) -> (String, String) {
        (self.context.clone(), self.stream.clone())
    }
}

/// The next events of some streams, by context, stream and version; [`reached`] says how far they go.
pub async fn events(
    executor: impl PgExecutor<'_>,
    namespace: &Namespace,
    spans: &[Span],
) -> sqlx::Result<Vec<Stored>> {
    let rows = outbox::events(executor, spans).await?;
    Ok(rows.into_iter().filter_map(|row| stored(namespace, row)).collect())
}

/// The part of `spans` that these events cover: all, or up to the last event when the limit of bytes was reached.
pub fn reached(spans: &[Span], events: &[Stored]) -> Vec<Span> {
    let bytes: usize = events.iter().map(|event| event.record.value.as_ref().map_or(0, Bytes::len)).sum();
    let Some(last) = events.last().filter(|_| bytes >= BYTES_MAX) else { return spans.to_vec() };
    let end = spans.iter().position(|span| span.stream() == last.stream()).unwrap_or(spans.len());
    let (whole, rest) = spans.split_at(end);
    let part = rest.first().map(|span| Span { upto: last.version, ..span.clone() });
    whole.iter().cloned().chain(part).collect()
}

/// The next events of some contexts after one (context, stream, version), in order; none when there are no more.
pub async fn after(
    executor: impl PgExecutor<'_>,
    namespace: &Namespace,
    contexts: &[&str],
    after: &(String, String, i64),
    most: i64,
) -> sqlx::Result<Vec<Stored>> {
    let rows = outbox::after(executor, contexts, after, most).await?;
    Ok(rows.into_iter().filter_map(|row| stored(namespace, row)).collect())
}

/// A rejection of a stream, or a command to it.
pub async fn unversioned(
    executor: impl PgExecutor<'_>,
    namespace: &Namespace,
    stream: (&str, &str),
    id: Uuid,
) -> sqlx::Result<Option<Record>> {
    let row = outbox::unversioned(executor, stream, id).await?;
    Ok(row.map(|row| record(namespace, row)))
}

/// The record of a row.
fn record(namespace: &Namespace, row: Row) -> Record {
    let headers = headers(namespace, &row);
    Record::at(&row.topic, 0, 0, Some(row.stream.into()), row.payload.map(Bytes::from), headers)
}

/// An event; `None` for a row without version.
fn stored(namespace: &Namespace, row: Row) -> Option<Stored> {
    Some(Stored {
        context: row.context.clone(),
        stream: row.stream.clone(),
        version: row.version?,
        type_: row.record_type.clone(),
        occurred_at: row.occurred_at,
        record: record(namespace, row),
    })
}

/// The headers in the order of `connectors/outbox.json`, so that a record that is written again is byte for byte the same.
fn headers(namespace: &Namespace, row: &Row) -> Vec<Header> {
    let headers = [
        ("id", Some(row.id.clone())),
        (envelope::ID, Some(row.id.clone())),
        ("ce_specversion", Some(row.specversion.clone())),
        (envelope::TYPE, Some(row.record_type.clone())),
        (envelope::TIME, Some(row.occurred_at.to_rfc3339_opts(SecondsFormat::Micros, true))),
        (envelope::SEQUENCE, row.version.map(|version| version.to_string())),
        (envelope::TRACEPARENT, row.traceparent.clone()),
        (envelope::CORRELATION_ID, row.correlation_id.clone()),
        (envelope::CAUSATION_ID, row.causation_id.clone()),
        (envelope::SOURCE, Some(namespace.source())),
        ("content-type", Some("application/avro".to_owned())),
    ];
    let header = |(name, value): (&str, Option<String>)| Header {
        name: name.into(),
        value: value.map(String::into_bytes),
    };
    headers.into_iter().map(header).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(stream: &str, above: i64, upto: i64) -> Span {
        Span { context: "orders".to_owned(), stream: stream.to_owned(), above, upto }
    }

    fn event(stream: &str, version: i64, bytes: usize) -> Stored {
        Stored {
            context: "orders".to_owned(),
            stream: stream.to_owned(),
            version,
            type_: String::new(),
            occurred_at: DateTime::UNIX_EPOCH,
            record: Record::at("evt", 0, 0, None, Some(vec![0; bytes].into()), Vec::new()),
        }
    }

    #[test]
    fn events_reach_the_end_of_their_streams_unless_their_bytes_were_enough() {
        let spans = [span("a", 0, 2), span("b", 0, 2), span("c", 0, 1)];
        let small = [event("a", 1, 1), event("a", 2, 1), event("b", 1, 1)];
        assert_eq!(reached(&spans, &small), spans, "the rest of them is not there");
        let large = [event("a", 1, BYTES_MAX / 2), event("a", 2, 1), event("b", 1, BYTES_MAX / 2)];
        assert_eq!(reached(&spans, &large), [span("a", 0, 2), span("b", 0, 1)]);
        assert_eq!(reached(&spans, &[]), spans);
    }
}
