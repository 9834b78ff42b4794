//! Events, rejections and commands as the outbox has them, as the records that Debezium makes of them: what views are folded from
//! without Kafka, and what is emitted again.

pub mod cli;
pub(crate) mod pace;
pub(crate) mod refold;
mod skip;

use chrono::{DateTime, SecondsFormat, Utc};
use millrace_runtime::{Header, Record, envelope};
use millrace_store::names::Namespace;
use millrace_store::timestamp::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgExecutor, Row as _};
use uuid::Uuid;

use crate::config::Config;
use crate::failure::Failure;
use crate::output::Format;

/// Payloads that are read at a time, in bytes: the event with which they are more is the last.
const BYTES_MAX: usize = 4 << 20;

/// Some versions of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) context: String,
    pub(crate) stream: String,
    /// The first of them is one more.
    pub(crate) above: i64,
    /// The last of them.
    pub(crate) upto: i64,
}

impl Span {
    /// The same versions in pieces of so many.
    pub(crate) fn pieces(&self, most: i64) -> impl Iterator<Item = Self> {
        let mut above = self.above;
        std::iter::from_fn(move || {
            let upto = self.upto.min(above + most);
            let piece = Self { above, upto, ..self.clone() };
            above = upto;
            (piece.above < piece.upto).then_some(piece)
        })
    }

    /// Which stream.
    pub(crate) fn stream(&self) -> (String, String) {
        (self.context.clone(), self.stream.clone())
    }
}

/// An event of the outbox.
pub(crate) struct Stored {
    pub(crate) context: String,
    pub(crate) stream: String,
    pub(crate) version: i64,
    /// The full name of its type.
    pub(crate) type_: String,
    pub(crate) occurred_at: DateTime<Utc>,
    /// As it is on its topic.
    pub(crate) record: Record,
}

impl Stored {
    /// Of which stream.
    pub(crate) fn stream(&self) -> (String, String) {
        (self.context.clone(), self.stream.clone())
    }
}

/// What a row's topic has of its payload: nothing of one that was skipped.
pub(crate) const CARRIED: &str =
    "CASE WHEN id = ANY(ARRAY(SELECT id FROM outbox_skipped)) THEN NULL ELSE payload END";

/// Does what was asked for.
///
/// # Errors
/// [`Failure::NotFound`] when there is no such row, [`Failure::Refused`] when the connector has not failed, or does not get
/// past it.
pub async fn outbox(config: &Config, format: Format, action: &cli::Action) -> Result<(), Failure> {
    match action {
        cli::Action::Skip(options) => skip::skip(config, format, options).await,
    }
}

/// A query of all that a record is made of.
fn select(rest: &'static str) -> String {
    format!(
        "SELECT id::text, aggregatetype, aggregateid, type, {CARRIED} AS payload, topic, version, traceparent,
                correlation_id, causation_id, occurred_at, specversion {rest}"
    )
}

/// The same, up to [`BYTES_MAX`] of payloads in the order of the streams.
fn select_some(rest: &'static str) -> String {
    let all = select(rest);
    format!(
        "SELECT * FROM (
             SELECT *, sum(size) OVER (ORDER BY aggregatetype, aggregateid, version) AS bytes
             FROM ({all}) AS wanted, coalesce(octet_length(payload), 0) AS size) AS counted
         WHERE bytes - size < {BYTES_MAX}
         ORDER BY aggregatetype, aggregateid, version"
    )
}

/// The next events of some streams, by context, stream and version; [`reached`] tells how far they go.
pub(crate) async fn events(
    executor: impl PgExecutor<'_>,
    namespace: &Namespace,
    spans: &[Span],
) -> sqlx::Result<Vec<Stored>> {
    let rows = sqlx::query(AssertSqlSafe(select_some(
        "FROM UNNEST($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS span(context, stream, above, upto)
         JOIN outbox ON aggregatetype = context AND aggregateid = stream AND version > above AND version <= upto",
    )))
    .bind(spans.iter().map(|span| span.context.as_str()).collect::<Vec<_>>())
    .bind(spans.iter().map(|span| span.stream.as_str()).collect::<Vec<_>>())
    .bind(spans.iter().map(|span| span.above).collect::<Vec<_>>())
    .bind(spans.iter().map(|span| span.upto).collect::<Vec<_>>())
    .fetch_all(executor)
    .await?;
    rows.iter().map(|row| stored(namespace, row)).collect()
}

/// What of `spans` such events are: all, or up to the last of them where their bytes were enough.
pub(crate) fn reached(spans: &[Span], events: &[Stored]) -> Vec<Span> {
    let bytes: usize = events.iter().map(|event| event.record.value.as_ref().map_or(0, Vec::len)).sum();
    let Some(last) = events.last().filter(|_| bytes >= BYTES_MAX) else { return spans.to_vec() };
    let end = spans.iter().position(|span| span.stream() == last.stream()).unwrap_or(spans.len());
    let (whole, rest) = spans.split_at(end);
    let part = rest.first().map(|span| Span { upto: last.version, ..span.clone() });
    whole.iter().cloned().chain(part).collect()
}

/// The next events of some contexts after one (context, stream, version), in order; none when there are no more.
pub(crate) async fn after(
    executor: impl PgExecutor<'_>,
    namespace: &Namespace,
    contexts: &[&str],
    (context, stream, version): &(String, String, i64),
    most: i64,
) -> sqlx::Result<Vec<Stored>> {
    let rows = sqlx::query(AssertSqlSafe(select_some(
        "FROM outbox
         WHERE aggregatetype = ANY($1) AND version IS NOT NULL AND (aggregatetype, aggregateid, version) > ($2, $3, $4)
         ORDER BY aggregatetype, aggregateid, version LIMIT $5",
    )))
    .bind(contexts)
    .bind(context)
    .bind(stream)
    .bind(version)
    .bind(most)
    .fetch_all(executor)
    .await?;
    rows.iter().map(|row| stored(namespace, row)).collect()
}

/// A rejection of a stream, or a command to it.
pub(crate) async fn unversioned(
    executor: impl PgExecutor<'_>,
    namespace: &Namespace,
    (context, stream): (&str, &str),
    id: Uuid,
) -> sqlx::Result<Option<Record>> {
    let row = sqlx::query(AssertSqlSafe(select(
        "FROM outbox WHERE aggregatetype = $1 AND aggregateid = $2 AND version IS NULL AND id = $3",
    )));
    let row = row.bind(context).bind(stream).bind(id).fetch_optional(executor).await?;
    row.map(|row| record(namespace, &row)).transpose()
}

fn record(namespace: &Namespace, row: &PgRow) -> sqlx::Result<Record> {
    let (topic, key): (String, String) = (row.try_get("topic")?, row.try_get("aggregateid")?);
    let value = row.try_get("payload")?;
    Ok(Record::at(&topic, 0, 0, Some(key.into_bytes()), value, headers(namespace, row)?))
}

fn stored(namespace: &Namespace, row: &PgRow) -> sqlx::Result<Stored> {
    Ok(Stored {
        record: record(namespace, row)?,
        context: row.try_get("aggregatetype")?,
        stream: row.try_get("aggregateid")?,
        version: row.try_get("version")?,
        type_: row.try_get("type")?,
        occurred_at: row.try_get::<Timestamp, _>("occurred_at")?.0,
    })
}

/// In the order of `connectors/outbox.json`: an event that is emitted again is the same to the byte.
fn headers(namespace: &Namespace, row: &PgRow) -> sqlx::Result<Vec<Header>> {
    let text = |column: &str| row.try_get::<Option<String>, _>(column);
    let version: Option<i64> = row.try_get("version")?;
    let Timestamp(occurred_at) = row.try_get("occurred_at")?;
    let headers = [
        ("id", text("id")?),
        (envelope::ID, text("id")?),
        ("ce_specversion", text("specversion")?),
        (envelope::TYPE, text("type")?),
        (envelope::TIME, Some(occurred_at.to_rfc3339_opts(SecondsFormat::Micros, true))),
        (envelope::SEQUENCE, version.map(|version| version.to_string())),
        (envelope::TRACEPARENT, text("traceparent")?),
        (envelope::CORRELATION_ID, text("correlation_id")?),
        (envelope::CAUSATION_ID, text("causation_id")?),
        (envelope::SOURCE, Some(namespace.source())),
        ("content-type", Some("application/avro".to_owned())),
    ];
    let header = |(name, value): (&str, Option<String>)| Header {
        name: name.into(),
        value: value.map(String::into_bytes),
    };
    Ok(headers.into_iter().map(header).collect())
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
            record: Record::at("evt", 0, 0, None, Some(vec![0; bytes]), Vec::new()),
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

    #[test]
    fn a_long_span_is_read_in_pieces() {
        let span = Span { context: "orders".to_owned(), stream: "1".to_owned(), above: 3, upto: 14 };
        let pieces: Vec<(i64, i64)> = span.pieces(5).map(|piece| (piece.above, piece.upto)).collect();
        assert_eq!(pieces, [(3, 8), (8, 13), (13, 14)]);
    }
}
