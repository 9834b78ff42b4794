//! The table `outbox`: events, rejections, outcomes and commands to be carried to Kafka; also the event store. And the tables
//! `outbox_skipped`, the rows that the connector could not carry, and `outbox_pruned`, the number of rows that retention has
//! removed.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::columns::bind_columns;
use crate::statements::statements;

macro_rules! bytes_max {
    () => {
        4194304
    };
}

/// Bytes of payloads that are read at a time; the event that exceeds them is the last.
pub const BYTES_MAX: usize = bytes_max!();

/// The payload that a row's topic has: none for a skipped row.
macro_rules! carried {
    () => {
        "CASE WHEN id = ANY(ARRAY(SELECT id FROM outbox_skipped)) THEN NULL ELSE payload END"
    };
}

// Behind the macros, which they use.
mod counts;
mod heads;
mod prints;
mod prune;
mod rows;
mod span;

pub(crate) use counts::STATEMENTS as STATEMENTS_OF_COUNTS;
pub use counts::{
    about, count, decided_by_topic, events_since, last_written, miscounted, undecided, written_after,
};
pub(crate) use heads::STATEMENTS as STATEMENTS_OF_HEADS;
pub use heads::{Head, caused_by, head_of, heads_of_stream};
pub(crate) use prints::STATEMENTS as STATEMENTS_OF_PRINTS;
pub use prints::{
    Unversioned, count_recent_answers, prints, prints_at, prints_of_slice, recent_answers, undecided_commands,
};
pub(crate) use prune::STATEMENTS as STATEMENTS_OF_PRUNE;
pub use prune::{has_prunable_answers, prunable, prune};
pub(crate) use rows::STATEMENTS as STATEMENTS_OF_ROWS;
pub use rows::{Event, Row, after, events, last_versions, new, of_stream, one, unversioned};
pub use span::Span;

statements! {
    INSERT = "INSERT INTO outbox (aggregatetype, topic, id, aggregateid, type, payload, version,
                             traceparent, correlation_id, causation_id, command_id, occurred_at)
         SELECT r.context, r.topic, r.id, r.stream, r.type, r.payload, r.version,
                r.traceparent, r.correlation_id, r.cause, r.command, coalesce(r.occurred_at, now())
         FROM UNNEST($1::text[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::bytea[], $7::bigint[], $8::text[],
                     $9::text[], $10::text[], $11::text[], $12::timestamptz[])
              WITH ORDINALITY AS r(context, topic, id, stream, type, payload, version, traceparent, correlation_id,
                                   cause, command, occurred_at, place)
         ORDER BY r.place";
    SENT = "SELECT id, sha256(payload) FROM outbox WHERE id = ANY($1) AND version IS NULL AND topic = $2";
    PAYLOADS = "SELECT aggregateid, payload FROM outbox
         WHERE aggregatetype = $1 AND aggregateid = ANY($2) AND version IS NOT NULL ORDER BY aggregateid, version";
    PAGE = concat!("SELECT version, payload FROM (
             SELECT version, payload, sum(octet_length(payload)) OVER (ORDER BY version) - octet_length(payload) AS before
             FROM (SELECT version, payload FROM outbox
                   WHERE aggregatetype = $1 AND aggregateid = $2 AND version > $3 AND version <= $4
                   ORDER BY version LIMIT $5) AS next) AS counted
         WHERE before < ", bytes_max!(), " ORDER BY version");
    WRITTEN_NOW = "SELECT aggregatetype, aggregateid, version, type, payload FROM outbox
         WHERE aggregatetype = $1 AND aggregateid = ANY($2) AND command_id = $3
           AND xmin = pg_current_xact_id()::xid
         ORDER BY aggregateid, version";
    SKIP = "INSERT INTO outbox_skipped (id) VALUES ($1) ON CONFLICT DO NOTHING";
}

/// A record to be written; only an event has a version.
#[derive(Debug, Clone)]
pub struct New<'r> {
    /// Its id.
    pub id: Uuid,
    /// The context.
    pub context: &'r str,
    /// The topic that Debezium carries it to.
    pub topic: String,
    /// The stream, which is the Kafka key.
    pub stream: &'r str,
    /// The full name of its type.
    pub record_type: &'r str,
    /// Its framed bytes.
    pub payload: &'r [u8],
    /// An event's version in its stream.
    pub version: Option<i64>,
    /// The id of the command, event or timer that led to it.
    pub cause: &'r str,
    /// The id of the command that it is an event or the rejection of; empty for an outcome.
    pub command: &'r str,
    /// The conversation that it belongs to.
    pub correlation_id: Option<&'r str>,
    /// The trace that it belongs to.
    pub traceparent: Option<&'r str>,
    /// The time of the record; `None` is the time of the transaction.
    pub occurred_at: Option<DateTime<Utc>>,
}

/// Inserts rows in order: Debezium keeps the order of rows within a transaction.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn insert(connection: &mut PgConnection, rows: &[New<'_>]) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    bind_columns!(sqlx::query(INSERT), rows, row =>
        row.context, row.topic.as_str(), row.id, row.stream, row.record_type, row.payload, row.version,
        row.traceparent, row.correlation_id, row.cause, row.command, row.occurred_at
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// The SHA-256 of the records without version that were sent to a topic, by id.
///
/// # Errors
/// Database errors.
pub async fn sent(
    connection: &mut PgConnection,
    ids: Vec<Uuid>,
    topic: String,
) -> sqlx::Result<Vec<(Uuid, Vec<u8>)>> {
    sqlx::query_as(SENT).bind(ids).bind(topic).fetch_all(connection).await
}

/// The payloads of the events of streams, in order, each with its stream.
///
/// # Errors
/// Database errors.
pub async fn payloads(
    connection: &mut PgConnection,
    context: &str,
    streams: Vec<String>,
) -> sqlx::Result<Vec<(String, Vec<u8>)>> {
    sqlx::query_as(PAYLOADS).bind(context).bind(streams).fetch_all(connection).await
}

/// The next events of a stream after a version and up to another: version and payload, up to a number of events and
/// [`BYTES_MAX`].
///
/// # Errors
/// Database errors.
pub async fn page(
    connection: &mut PgConnection,
    (context, stream): (&str, &str),
    (above, upto): (i64, i64),
    most: i64,
) -> sqlx::Result<Vec<(i64, Vec<u8>)>> {
    let page = sqlx::query_as(PAGE).bind(context).bind(stream).bind(above).bind(upto).bind(most);
    page.fetch_all(connection).await
}

/// Context, stream, version, type and payload.
pub type Written = (String, String, Option<i64>, String, Vec<u8>);

/// The rows that this transaction has written in a context for a command.
///
/// # Errors
/// Database errors.
pub async fn written_now(
    connection: &mut PgConnection,
    (context, streams): (Option<&str>, Vec<&str>),
    command: Option<&str>,
) -> sqlx::Result<Vec<Written>> {
    sqlx::query_as(WRITTEN_NOW).bind(context).bind(streams).bind(command).fetch_all(connection).await
}

/// Records that the topic of a row has a record without value in its place.
///
/// # Errors
/// Database errors.
pub async fn skip(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query(SKIP).bind(id).execute(connection).await.map(|_| ())
}
