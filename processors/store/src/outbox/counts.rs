//! How many rows there are of a kind, and how old they are.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::columns::bind_columns;
use crate::statements::statements;
use crate::timestamp::Nearest;

statements! {
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
}

/// The number of rows of each topic that were written after a time, and when the first was; at most `most` rows are counted.
///
/// # Errors
/// The database's, as of every function here.
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
/// The database's.
pub async fn last_written(
    executor: impl PgExecutor<'_>,
    events: &[(String, String, i64)],
    others: &[Uuid],
) -> sqlx::Result<Option<DateTime<Utc>>> {
    bind_columns!(sqlx::query_scalar(LAST_WRITTEN), events, (context, stream, version) =>
        context.as_str(), stream.as_str(), *version
    )
    .bind(others)
    .fetch_one(executor)
    .await
}

/// The number of commands that were sent since a time and are not decided, and when the first of them was written.
///
/// # Errors
/// The database's.
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
/// The database's.
pub async fn events_since(executor: impl PgExecutor<'_>, since: DateTime<Utc>) -> sqlx::Result<i64> {
    sqlx::query_scalar(EVENTS_SINCE).bind(since).fetch_one(executor).await
}

/// Those of the next `most` streams after a given one whose number of events differs from their version: context, stream,
/// version, number of events.
///
/// # Errors
/// The database's.
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
/// The database's.
pub async fn about(executor: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar(ABOUT).fetch_one(executor).await
}

/// The number of rows.
///
/// # Errors
/// The database's.
pub async fn count(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar(COUNT).fetch_one(connection).await
}

/// The number of events, rejections and outcomes of each topic: all, or those written since the first of two times and before the second.
///
/// # Errors
/// The database's.
pub async fn decided_by_topic(
    executor: impl PgExecutor<'_>,
    [since, before]: [Option<DateTime<Utc>>; 2],
) -> sqlx::Result<Vec<(String, i64)>> {
    sqlx::query_as(DECIDED_BY_TOPIC).bind(since).bind(before).fetch_all(executor).await
}
