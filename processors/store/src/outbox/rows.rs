//! Rows as their topics have them, read again: for what folds anew, for tools, for the auditor.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, Row as _};
use uuid::Uuid;

use super::Span;
use crate::columns::bind_columns;
use crate::statements::statements;
use crate::timestamp::{Nearest, Timestamp};

/// A query of all columns of a record.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id::text, aggregatetype, aggregateid, type, ",
            carried!(),
            " AS payload, topic, version, traceparent,
                correlation_id, causation_id, occurred_at, specversion ",
            $rest
        )
    };
}

/// The same, up to [`BYTES_MAX`](super::BYTES_MAX) of payloads in the order of the streams.
macro_rules! select_some {
    ($rest:literal) => {
        concat!(
            "SELECT * FROM (
             SELECT *, sum(size) OVER (ORDER BY aggregatetype, aggregateid, version) AS bytes
             FROM (",
            select!($rest),
            ") AS wanted, coalesce(octet_length(payload), 0) AS size) AS counted
         WHERE bytes - size < ",
            bytes_max!(),
            "
         ORDER BY aggregatetype, aggregateid, version"
        )
    };
}

statements! {
    EVENTS = select_some!("FROM UNNEST($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS span(context, stream, above, upto)
         JOIN outbox ON aggregatetype = context AND aggregateid = stream AND version > above AND version <= upto");
    AFTER = select_some!("FROM outbox
         WHERE aggregatetype = ANY($1) AND version IS NOT NULL AND (aggregatetype, aggregateid, version) > ($2, $3, $4)
         ORDER BY aggregatetype, aggregateid, version LIMIT $5");
    UNVERSIONED = select!("FROM outbox WHERE aggregatetype = $1 AND aggregateid = $2 AND version IS NULL AND id = $3");
    ONE = select!("FROM outbox WHERE id = $1");
    OF_STREAM = "SELECT id, type, payload, version, causation_id, occurred_at FROM outbox
         WHERE aggregatetype = $1 AND aggregateid = $2 AND version IS NOT NULL
           AND ($3::bigint IS NULL OR version <= $3) AND ($4::timestamptz IS NULL OR occurred_at <= $4)
         ORDER BY version";
    /// Reads the index of the streams in its order, a page at a time; new rows are found by their own index.
    LAST_VERSIONS = "SELECT aggregatetype, aggregateid, max(version) FROM outbox
         WHERE aggregatetype = ANY($1) AND version IS NOT NULL AND (aggregatetype, aggregateid) > ($2, $3)
         GROUP BY 1, 2 ORDER BY 1, 2 LIMIT $4";
    LAST_VERSIONS_SINCE = "SELECT aggregatetype, aggregateid, max(version) FROM outbox
         WHERE aggregatetype = ANY($1) AND version IS NOT NULL AND (aggregatetype, aggregateid) > ($2, $3)
           AND written_at >= $5
         GROUP BY 1, 2 ORDER BY 1, 2 LIMIT $4";
    NEW = "SELECT aggregatetype, aggregateid, min(version) - 1, max(version) FROM outbox
         WHERE version IS NOT NULL AND aggregatetype = ANY($1) AND written_at >= $2
         GROUP BY 1, 2 ORDER BY 1, 2 LIMIT $3";
}

/// A row as a record of its topic.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// The context.
    pub context: String,
    /// The stream, which is the Kafka key.
    pub stream: String,
    /// The full name of its type.
    pub record_type: String,
    /// Its framed bytes; `None` for a skipped row.
    pub payload: Option<Vec<u8>>,
    /// The topic.
    pub topic: String,
    /// An event's version in its stream.
    pub version: Option<i64>,
    /// The trace that it belongs to.
    pub traceparent: Option<String>,
    /// The conversation that it belongs to.
    pub correlation_id: Option<String>,
    /// What caused it.
    pub causation_id: Option<String>,
    /// The time of the record.
    pub occurred_at: DateTime<Utc>,
    /// The version of CloudEvents.
    pub specversion: String,
}

fn row(row: &PgRow) -> sqlx::Result<Row> {
    Ok(Row {
        id: row.try_get("id")?,
        context: row.try_get("aggregatetype")?,
        stream: row.try_get("aggregateid")?,
        record_type: row.try_get("type")?,
        payload: row.try_get("payload")?,
        topic: row.try_get("topic")?,
        version: row.try_get("version")?,
        traceparent: row.try_get("traceparent")?,
        correlation_id: row.try_get("correlation_id")?,
        causation_id: row.try_get("causation_id")?,
        occurred_at: row.try_get::<Timestamp, _>("occurred_at")?.0,
        specversion: row.try_get("specversion")?,
    })
}

/// The next events of some streams, by context, stream and version, up to [`BYTES_MAX`](super::BYTES_MAX).
///
/// # Errors
/// The database's.
pub async fn events(executor: impl PgExecutor<'_>, spans: &[Span]) -> sqlx::Result<Vec<Row>> {
    let rows = bind_columns!(sqlx::query(EVENTS), spans, span =>
        span.context.as_str(), span.stream.as_str(), span.above, span.upto
    )
    .fetch_all(executor)
    .await?;
    rows.iter().map(row).collect()
}

/// The next events of some contexts after one (context, stream, version), in order, up to [`BYTES_MAX`](super::BYTES_MAX).
///
/// # Errors
/// The database's.
pub async fn after(
    executor: impl PgExecutor<'_>,
    contexts: &[&str],
    (context, stream, version): &(String, String, i64),
    most: i64,
) -> sqlx::Result<Vec<Row>> {
    let rows = sqlx::query(AFTER).bind(contexts).bind(context).bind(stream).bind(version).bind(most);
    rows.fetch_all(executor).await?.iter().map(row).collect()
}

/// A rejection of a stream, or a command to it.
///
/// # Errors
/// The database's.
pub async fn unversioned(
    executor: impl PgExecutor<'_>,
    (context, stream): (&str, &str),
    id: Uuid,
) -> sqlx::Result<Option<Row>> {
    let found = sqlx::query(UNVERSIONED).bind(context).bind(stream).bind(id).fetch_optional(executor).await?;
    found.as_ref().map(row).transpose()
}

/// The row with this id. It may take long, since events have no index on the id.
///
/// # Errors
/// The database's.
pub async fn one(executor: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Row>> {
    sqlx::query(ONE).bind(id).fetch_optional(executor).await?.as_ref().map(row).transpose()
}

/// Id, type, payload, version, causation id, and time.
pub type Event = (Uuid, String, Vec<u8>, i64, Option<String>, Nearest);

/// The events of a stream, up to a version or a time.
///
/// # Errors
/// The database's.
pub async fn of_stream(
    executor: impl PgExecutor<'_>,
    (context, stream): (&str, &str),
    version: Option<i64>,
    until: Option<DateTime<Utc>>,
) -> sqlx::Result<Vec<Event>> {
    let events = sqlx::query_as(OF_STREAM).bind(context).bind(stream).bind(version).bind(until);
    events.fetch_all(executor).await
}

/// The next streams of some contexts after a given one, each with its last version: all, or those with events since a time.
///
/// # Errors
/// The database's.
pub async fn last_versions(
    executor: impl PgExecutor<'_>,
    contexts: &[&str],
    (since, (context, stream)): (Option<DateTime<Utc>>, &(String, String)),
    most: i64,
) -> sqlx::Result<Vec<(String, String, i64)>> {
    let sql = if since.is_some() { LAST_VERSIONS_SINCE } else { LAST_VERSIONS };
    let rows = sqlx::query_as(sql).bind(contexts).bind(context).bind(stream).bind(most);
    match since {
        Some(since) => rows.bind(since).fetch_all(executor).await,
        None => rows.fetch_all(executor).await,
    }
}

/// The events of some contexts that were written since a time, of a limited number of streams.
///
/// # Errors
/// The database's.
pub async fn new(
    executor: impl PgExecutor<'_>,
    contexts: &[&str],
    since: DateTime<Utc>,
    most: i64,
) -> sqlx::Result<Vec<Span>> {
    let rows = sqlx::query_as(NEW).bind(contexts).bind(since).bind(most).fetch_all(executor).await?;
    let span = |(context, stream, above, upto)| Span { context, stream, above, upto };
    Ok(rows.into_iter().map(span).collect())
}
