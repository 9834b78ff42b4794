//! A number that identifies each event, and which rejections, outcomes and commands there are: what the auditor compares with the topics.

use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use millrace_schemas::Kind;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::columns::bind_columns;
use crate::names::in_topics;
use crate::statements::statements;

/// A number that identifies an event by context, version, id, stream and payload: the first eight bytes of a hash. The parts are
/// separated by zero bytes, which Postgres's texts do not contain, so that they cannot run into each other.
macro_rules! print {
    () => {
        concat!(
            "('x' || left(encode(sha256(
             convert_to(concat_ws(' ', aggregatetype, version, id, aggregateid), 'UTF8') || '\\x00'::bytea
                 || coalesce(",
            carried!(),
            ", '')
         ), 'hex'), 16))::bit(64)::bigint"
        )
    };
}

/// Kafka keeps rejections and outcomes for a limited time: those of the last day must exist.
macro_rules! recent_answers {
    () => {
        "FROM outbox
         WHERE written_at > greatest(now() - interval '1 day', $1) AND version IS NULL
           AND starts_with(topic, current_schema() || '.' || $2 || '.')"
    };
}

statements! {
    PRINTS_OF_SLICE = concat!("SELECT print FROM (SELECT ", print!(), " AS print FROM outbox
             WHERE version IS NOT NULL AND ($3::timestamptz IS NULL OR written_at >= $3)) AS event
         WHERE mod(mod(print, $1) + $1, $1) = $2");
    PRINTS = concat!("SELECT aggregatetype, aggregateid, version, ", print!(), " FROM outbox
         WHERE version IS NOT NULL AND ($1::timestamptz IS NULL OR written_at >= $1)
         ORDER BY aggregatetype, aggregateid, version");
    PRINTS_AT = concat!("SELECT wanted.number, outbox.id::text, ", print!(), "
         FROM UNNEST($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY AS wanted(context, stream, at, number)
         JOIN outbox ON aggregatetype = context AND aggregateid = stream AND version = at");
    RECENT_ANSWERS = concat!("SELECT aggregatetype, aggregateid, id ", recent_answers!());
    COUNT_RECENT_ANSWERS = concat!("SELECT count(*) ", recent_answers!());
    /// Commands that sagas and effects have sent and that have no receipt.
    UNDECIDED_COMMANDS = "
    SELECT aggregatetype, aggregateid, id FROM outbox
    WHERE version IS NULL AND starts_with(topic, current_schema() || '.cmd.')
      AND ($1::timestamptz IS NULL OR written_at >= $1)
      AND NOT EXISTS (SELECT FROM command WHERE command.id = outbox.id::text AND source = '/' || current_schema())";
}

/// The fingerprints of the events of one slice: of all events, or of those written since a time.
pub fn prints_of_slice(
    connection: &mut PgConnection,
    (number, of): (i64, i64),
    since: Option<DateTime<Utc>>,
) -> BoxStream<'_, sqlx::Result<i64>> {
    sqlx::query_scalar(PRINTS_OF_SLICE).bind(of).bind(number).bind(since).fetch(connection)
}

/// Events in the order of the streams, all or those written since a time: context, stream, version, fingerprint.
pub fn prints(
    connection: &mut PgConnection,
    since: Option<DateTime<Utc>>,
) -> BoxStream<'_, sqlx::Result<(String, String, i64, i64)>> {
    sqlx::query_as(PRINTS).bind(since).fetch(connection)
}

/// The events at some versions of streams (context, stream, version): position in the input, from 1, id and fingerprint.
///
/// # Errors
/// The database's.
pub async fn prints_at(
    connection: &mut PgConnection,
    wanted: &[(&str, String, i64)],
) -> sqlx::Result<Vec<(i64, String, i64)>> {
    bind_columns!(sqlx::query_as(PRINTS_AT), wanted, (context, stream, version) =>
        *context, stream.as_str(), *version
    )
    .fetch_all(connection)
    .await
}

/// Context, stream and id of a rejection, an outcome or a command.
pub type Unversioned = (String, String, Uuid);

/// The rejections or the outcomes of the last day, or only those written since a time.
pub fn recent_answers(
    connection: &mut PgConnection,
    kind: Kind,
    since: Option<DateTime<Utc>>,
) -> BoxStream<'_, sqlx::Result<Unversioned>> {
    sqlx::query_as(RECENT_ANSWERS).bind(since).bind(in_topics(kind)).fetch(connection)
}

/// The number of those.
///
/// # Errors
/// The database's.
pub async fn count_recent_answers(
    executor: impl PgExecutor<'_>,
    kind: Kind,
    since: Option<DateTime<Utc>>,
) -> sqlx::Result<i64> {
    sqlx::query_scalar(COUNT_RECENT_ANSWERS).bind(since).bind(in_topics(kind)).fetch_one(executor).await
}

/// The commands that were sent since a time and are not decided.
pub fn undecided_commands(
    connection: &mut PgConnection,
    since: Option<DateTime<Utc>>,
) -> BoxStream<'_, sqlx::Result<Unversioned>> {
    sqlx::query_as(UNDECIDED_COMMANDS).bind(since).fetch(connection)
}
