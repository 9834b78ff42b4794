//! The table `outbox`: events, rejections and commands to be carried to Kafka; also the event store. And the tables
//! `outbox_skipped`, the rows that the connector could not carry, and `outbox_pruned`, the number of rows that retention has
//! removed.

mod span;

use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, Row as _};
use uuid::Uuid;

pub use span::Span;

use crate::prune::{Aged, Batch, reached};
use crate::statements::statements;
use crate::timestamp::{Nearest, Timestamp};

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

/// The same, up to [`BYTES_MAX`] of payloads in the order of the streams.
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

/// Rows that are not events, are older than their retention and no longer needed: commands that are decided or whose dead letter
/// is discarded, and rejections of commands that were decided longer ago. `occurred_at` is not used, since it is that of the
/// producer's command. Each condition is a scalar subquery per row, which uses an index: for `EXISTS` the planner would hash the
/// whole ledger for each batch.
macro_rules! prunable {
    () => {
        "FROM outbox AS o
         WHERE o.version IS NULL AND o.occurred_at < $1 AND CASE WHEN starts_with(o.topic, current_schema() || '.cmd.')
             THEN (SELECT c.id FROM command AS c WHERE c.id = o.id::text AND c.source = '/' || current_schema()
                   AND (c.status <> 'dead' OR (
                       SELECT l.id FROM dead_letter AS l WHERE l.topic = c.topic AND l.partition = c.partition
                       AND l.\"offset\" = c.\"offset\" AND l.status <> 'discarded' LIMIT 1) IS NULL) LIMIT 1) IS NOT NULL
             ELSE (SELECT c.id FROM command AS c WHERE c.id = o.command_id AND c.context = o.aggregatetype
                   AND c.decided_at >= $1 LIMIT 1) IS NULL
             END"
    };
}

statements! {
    INSERT = "INSERT INTO outbox (aggregatetype, topic, id, aggregateid, type, payload, version,
                             traceparent, correlation_id, causation_id, command_id, occurred_at)
         SELECT r.context, r.topic, r.id, r.stream, r.type, r.payload, r.version,
                r.traceparent, r.correlation_id, r.cause, r.cause, coalesce(r.occurred_at, now())
         FROM UNNEST($1::text[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::bytea[], $7::bigint[], $8::text[],
                     $9::text[], $10::text[], $11::timestamptz[])
              WITH ORDINALITY AS r(context, topic, id, stream, type, payload, version, traceparent, correlation_id,
                                   cause, occurred_at, place)
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
    EVENTS = select_some!("FROM UNNEST($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS span(context, stream, above, upto)
         JOIN outbox ON aggregatetype = context AND aggregateid = stream AND version > above AND version <= upto");
    AFTER = select_some!("FROM outbox
         WHERE aggregatetype = ANY($1) AND version IS NOT NULL AND (aggregatetype, aggregateid, version) > ($2, $3, $4)
         ORDER BY aggregatetype, aggregateid, version LIMIT $5");
    UNVERSIONED = select!("FROM outbox WHERE aggregatetype = $1 AND aggregateid = $2 AND version IS NULL AND id = $3");
    ONE = select!("FROM outbox WHERE id = $1");
    SKIP = "INSERT INTO outbox_skipped (id) VALUES ($1) ON CONFLICT DO NOTHING";
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
    PRINTS_OF_SLICE = concat!("SELECT print FROM (SELECT ", print!(), " AS print FROM outbox
             WHERE version IS NOT NULL AND ($3::timestamptz IS NULL OR written_at >= $3)) AS event
         WHERE mod(mod(print, $1) + $1, $1) = $2");
    PRINTS = concat!("SELECT aggregatetype, aggregateid, version, ", print!(), " FROM outbox
         WHERE version IS NOT NULL AND ($1::timestamptz IS NULL OR written_at >= $1)
         ORDER BY aggregatetype, aggregateid, version");
    PRINTS_AT = concat!("SELECT wanted.number, outbox.id::text, ", print!(), "
         FROM UNNEST($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY AS wanted(context, stream, at, number)
         JOIN outbox ON aggregatetype = context AND aggregateid = stream AND version = at");
    /// Kafka keeps rejections for a limited time: those of the last day must exist.
    RECENT_REJECTIONS = "
    SELECT o.aggregatetype, o.aggregateid, o.id
    FROM command AS c
    JOIN outbox AS o ON o.aggregatetype = c.context AND o.aggregateid = c.stream AND o.version IS NULL
                    AND o.command_id = c.id AND ($1::timestamptz IS NULL OR o.written_at >= $1)
    WHERE c.status = 'rejected' AND c.decided_at > greatest(now() - interval '1 day', $1)";
    /// Commands that sagas and effects have sent and that have no receipt.
    UNDECIDED_COMMANDS = "
    SELECT aggregatetype, aggregateid, id FROM outbox
    WHERE version IS NULL AND starts_with(topic, current_schema() || '.cmd.')
      AND ($1::timestamptz IS NULL OR written_at >= $1)
      AND NOT EXISTS (SELECT FROM command WHERE command.id = outbox.id::text AND source = '/' || current_schema())";
    /// `written_at` is unknown for rows that were written before the column existed.
    UNDECIDED = "
    SELECT count(*), min(coalesce(written_at, '-infinity')) FROM outbox
    WHERE version IS NULL AND starts_with(topic, current_schema() || '.cmd.')
      AND ($1::timestamptz IS NULL OR written_at >= $1)
      AND NOT EXISTS (SELECT FROM command WHERE command.id = outbox.id::text AND source = '/' || current_schema())";
    EVENTS_SINCE = "SELECT count(*) FROM outbox WHERE version IS NOT NULL AND written_at >= $1";
    /// Streams whose number of events differs from their version.
    MISCOUNTED = "
    SELECT s.context, s.id, s.version, found.events FROM (
        SELECT context, id, version FROM stream WHERE (context, id) > ($1, $2) ORDER BY context, id LIMIT $3) AS s
    CROSS JOIN LATERAL (SELECT count(*) AS events FROM outbox
                        WHERE aggregatetype = s.context AND aggregateid = s.id AND version IS NOT NULL) AS found
    WHERE found.events <> s.version";
    /// An estimate of Postgres.
    ABOUT = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'outbox'::regclass";
    COUNT = "SELECT count(*) FROM outbox";
    DECIDED_BY_TOPIC = "SELECT topic, sum(rows)::bigint FROM (
             SELECT topic, count(*) AS rows FROM outbox WHERE NOT starts_with(topic, current_schema() || '.cmd.')
               AND ($1::timestamptz IS NULL OR written_at >= $1)
               AND ($2::timestamptz IS NULL OR written_at IS NULL OR written_at < $2) GROUP BY topic
             UNION ALL SELECT topic, rows FROM outbox_pruned
             WHERE $1 IS NULL AND NOT starts_with(topic, current_schema() || '.cmd.')
         ) AS written GROUP BY topic";
    /// The first rows in physical order, which is the order in which they were written.
    WRITTEN_AFTER = "SELECT topic, count(*), min(written_at) FROM (
             SELECT topic, written_at FROM outbox WHERE written_at > $1 LIMIT $2) AS first
         GROUP BY topic ORDER BY topic";
    LAST_WRITTEN = "SELECT max(written_at) FROM (
             SELECT written_at FROM UNNEST($1::text[], $2::text[], $3::bigint[]) AS event(context, stream, at)
             JOIN outbox ON aggregatetype = context AND aggregateid = stream AND version = at
             UNION ALL SELECT written_at FROM outbox WHERE id = ANY($4) AND version IS NULL) AS carried";
    PRUNABLE = concat!("SELECT count(*), min(o.occurred_at) ", prunable!());
    HAS_PRUNABLE_REJECTIONS = concat!("SELECT EXISTS (SELECT ", prunable!(), "
             AND NOT starts_with(o.topic, current_schema() || '.cmd.'))");
    PRUNE = concat!("DELETE FROM outbox WHERE ctid = ANY (ARRAY(
             SELECT o.ctid ", prunable!(), " AND o.occurred_at >= coalesce($2::timestamptz, '-infinity')
             ORDER BY o.occurred_at LIMIT $3 FOR UPDATE OF o SKIP LOCKED))
         RETURNING id, topic, occurred_at");
    PRUNE_SKIPPED = "DELETE FROM outbox_skipped WHERE id = ANY($1)";
    COUNT_PRUNED = "INSERT INTO outbox_pruned AS known (topic, rows)
         SELECT topic, count(*) FROM UNNEST($1::text[]) AS gone(topic) GROUP BY topic ORDER BY topic
         ON CONFLICT (topic) DO UPDATE SET rows = known.rows + excluded.rows";
}

/// The number of rows of each topic that were written after a time, and when the first was; at most `most` rows are counted.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn written_after(
    executor: impl PgExecutor<'_>,
    time: DateTime<Utc>,
    most: i64,
) -> sqlx::Result<Vec<(String, i64, DateTime<Utc>)>> {
    sqlx::query_as(WRITTEN_AFTER).bind(time).bind(most).fetch_all(executor).await
}

/// When the last of some rows was written: events by context, stream and version, others by id. `None` when none exists or has a
/// time.
///
/// # Errors
/// Database errors.
pub async fn last_written(
    executor: impl PgExecutor<'_>,
    events: &[(String, String, i64)],
    others: &[Uuid],
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar(LAST_WRITTEN)
        .bind(events.iter().map(|(context, ..)| context.as_str()).collect::<Vec<_>>())
        .bind(events.iter().map(|(_, stream, _)| stream.as_str()).collect::<Vec<_>>())
        .bind(events.iter().map(|(.., version)| *version).collect::<Vec<_>>())
        .bind(others)
        .fetch_one(executor)
        .await
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
    sqlx::query(INSERT)
        .bind(rows.iter().map(|row| row.context).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.topic.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.stream).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.record_type).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.payload).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.version).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.traceparent).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.correlation_id).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.cause).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.occurred_at).collect::<Vec<_>>())
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

/// The next events of some streams, by context, stream and version, up to [`BYTES_MAX`].
///
/// # Errors
/// Database errors.
pub async fn events(executor: impl PgExecutor<'_>, spans: &[Span]) -> sqlx::Result<Vec<Row>> {
    let rows = sqlx::query(EVENTS)
        .bind(spans.iter().map(|span| span.context.as_str()).collect::<Vec<_>>())
        .bind(spans.iter().map(|span| span.stream.as_str()).collect::<Vec<_>>())
        .bind(spans.iter().map(|span| span.above).collect::<Vec<_>>())
        .bind(spans.iter().map(|span| span.upto).collect::<Vec<_>>())
        .fetch_all(executor)
        .await?;
    rows.iter().map(row).collect()
}

/// The next events of some contexts after one (context, stream, version), in order, up to [`BYTES_MAX`].
///
/// # Errors
/// Database errors.
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
/// Database errors.
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
/// Database errors.
pub async fn one(executor: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Row>> {
    sqlx::query(ONE).bind(id).fetch_optional(executor).await?.as_ref().map(row).transpose()
}

/// Records that the topic of a row has a record without value in its place.
///
/// # Errors
/// Database errors.
pub async fn skip(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query(SKIP).bind(id).execute(connection).await.map(|_| ())
}

/// Id, type, payload, version, causation id, and time.
pub type Event = (Uuid, String, Vec<u8>, i64, Option<String>, Nearest);

/// The events of a stream, up to a version or a time.
///
/// # Errors
/// Database errors.
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
/// Database errors.
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
/// Database errors.
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
/// Database errors.
pub async fn prints_at(
    connection: &mut PgConnection,
    wanted: &[(&str, String, i64)],
) -> sqlx::Result<Vec<(i64, String, i64)>> {
    sqlx::query_as(PRINTS_AT)
        .bind(wanted.iter().map(|(context, ..)| *context).collect::<Vec<_>>())
        .bind(wanted.iter().map(|(_, stream, _)| stream.as_str()).collect::<Vec<_>>())
        .bind(wanted.iter().map(|(.., version)| *version).collect::<Vec<_>>())
        .fetch_all(connection)
        .await
}

/// Context, stream and id of a rejection or a command.
pub type Unversioned = (String, String, Uuid);

/// The rejections of the last day, or only those written since a time.
pub fn recent_rejections(
    connection: &mut PgConnection,
    since: Option<DateTime<Utc>>,
) -> BoxStream<'_, sqlx::Result<Unversioned>> {
    sqlx::query_as(RECENT_REJECTIONS).bind(since).fetch(connection)
}

/// The commands that were sent since a time and are not decided.
pub fn undecided_commands(
    connection: &mut PgConnection,
    since: Option<DateTime<Utc>>,
) -> BoxStream<'_, sqlx::Result<Unversioned>> {
    sqlx::query_as(UNDECIDED_COMMANDS).bind(since).fetch(connection)
}

/// The number of commands that were sent since a time and are not decided, and when the first of them was written.
///
/// # Errors
/// Database errors.
pub async fn undecided(
    executor: impl PgExecutor<'_>,
    since: Option<DateTime<Utc>>,
) -> sqlx::Result<(i64, Option<DateTime<Utc>>)> {
    let (count, oldest): (i64, Option<Nearest>) =
        sqlx::query_as(UNDECIDED).bind(since).fetch_one(executor).await?;
    Ok((count, oldest.map(|Nearest(time)| time)))
}

/// The number of events that were written since a time.
///
/// # Errors
/// Database errors.
pub async fn events_since(executor: impl PgExecutor<'_>, since: DateTime<Utc>) -> sqlx::Result<i64> {
    sqlx::query_scalar(EVENTS_SINCE).bind(since).fetch_one(executor).await
}

/// Those of the next `most` streams after a given one whose number of events differs from their version: context, stream,
/// version, number of events.
///
/// # Errors
/// Database errors.
pub async fn miscounted(
    executor: impl PgExecutor<'_>,
    (context, stream): &(String, String),
    most: i64,
) -> sqlx::Result<Vec<(String, String, i64, i64)>> {
    sqlx::query_as(MISCOUNTED).bind(context).bind(stream).bind(most).fetch_all(executor).await
}

/// An estimate of the number of rows.
///
/// # Errors
/// Database errors.
pub async fn about(executor: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar(ABOUT).fetch_one(executor).await
}

/// The number of rows.
///
/// # Errors
/// Database errors.
pub async fn count(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar(COUNT).fetch_one(connection).await
}

/// The number of events and rejections of each topic: all, or those written since the first of two times and before the second.
///
/// # Errors
/// Database errors.
pub async fn decided_by_topic(
    executor: impl PgExecutor<'_>,
    [since, before]: [Option<DateTime<Utc>>; 2],
) -> sqlx::Result<Vec<(String, i64)>> {
    sqlx::query_as(DECIDED_BY_TOPIC).bind(since).bind(before).fetch_all(executor).await
}

/// The number and age of the rows that retention would remove.
///
/// # Errors
/// Database errors.
pub async fn prunable(executor: impl PgExecutor<'_>, before: DateTime<Utc>) -> sqlx::Result<Aged> {
    sqlx::query_as(PRUNABLE).bind(before).fetch_one(executor).await.map(Aged::of)
}

/// Whether rejections are among them: only Debezium's position shows whether those are in Kafka, while a decided command has been
/// read from there.
///
/// # Errors
/// Database errors.
pub async fn has_prunable_rejections(
    executor: impl PgExecutor<'_>,
    before: DateTime<Utc>,
) -> sqlx::Result<bool> {
    sqlx::query_scalar(HAS_PRUNABLE_REJECTIONS).bind(before).fetch_one(executor).await
}

/// Removes a batch of them, the oldest first; returns how many, and the time that it has reached. If rejections are among them,
/// Debezium must have confirmed everything that was committed before [`before`](Batch::before).
///
/// # Errors
/// Database errors.
pub async fn prune(
    connection: &mut PgConnection,
    Batch { before, from, most }: Batch,
) -> sqlx::Result<(usize, Option<DateTime<Utc>>)> {
    let gone = sqlx::query_as(PRUNE).bind(before).bind(from).bind(most).fetch_all(&mut *connection);
    let gone: Vec<(Uuid, String, Nearest)> = gone.await?;
    let ids: Vec<Uuid> = gone.iter().map(|(id, ..)| *id).collect();
    sqlx::query(PRUNE_SKIPPED).bind(ids).execute(&mut *connection).await?;
    let topics: Vec<&str> = gone.iter().map(|(_, topic, _)| topic.as_str()).collect();
    sqlx::query(COUNT_PRUNED).bind(topics).execute(connection).await?;
    Ok((gone.len(), reached(gone.iter().map(|(.., at)| *at))))
}
