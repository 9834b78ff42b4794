//! Queries over several tables of the write side.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use crate::columns::bind_columns;
use crate::statements::statements;
use crate::timestamp::Nearest;

statements! {
    MOVED_ON = "SELECT r.instance FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[])
                                AS r(instance, context, stream, version, topic)
         WHERE EXISTS (SELECT FROM stream AS s
                       WHERE s.context = r.context AND s.id = r.stream AND s.version > r.version)
            OR EXISTS (SELECT FROM outbox AS o
                       WHERE o.aggregatetype = r.context AND o.aggregateid = r.stream AND o.version IS NULL
                         AND o.topic = r.topic
                         AND NOT EXISTS (SELECT FROM command AS c WHERE c.id = o.id::text AND c.source = $6))";
    UNDER_WAY = "SELECT 'saga ' || saga, standing, count(*), min(started_at) FROM saga_under_way GROUP BY 1, 2
         UNION ALL
         SELECT 'effect ' || effect, status, count(*), min(created_at) FROM effect
         WHERE status IN ('waiting', 'calling') GROUP BY 1, 2
         UNION ALL
         SELECT 'commands', 'sent and not decided', count(*), min(occurred_at) FROM outbox
         WHERE version IS NULL AND starts_with(topic, $1) AND ($3::timestamptz IS NULL OR written_at >= $3)
           AND NOT EXISTS (SELECT FROM command WHERE command.id = outbox.id::text AND source = $2)
         HAVING count(*) > 0
         ORDER BY 1, 2";
    KNOWS_STREAM = "SELECT EXISTS (SELECT FROM stream WHERE context = ANY($1) AND id = $2)
                 OR EXISTS (SELECT FROM command WHERE context = ANY($1) AND stream = $2)
                 OR EXISTS (SELECT FROM parked WHERE grp = $3 AND key = convert_to($2, 'UTF8'))";
}

/// A stream that an instance of a saga waits for.
#[derive(Debug, Clone)]
pub struct Awaited<'a> {
    /// The instance.
    pub instance: &'a str,
    /// The stream's context.
    pub context: &'a str,
    /// The stream.
    pub stream: &'a str,
    /// The version of it that the instance has received.
    pub version: i64,
    /// The topic of commands to it.
    pub topic: String,
}

/// The instances for which a stream has a later version than they have received, or will have: a command of this source to it is
/// not decided.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn moved_on(
    connection: &mut PgConnection,
    awaited: &[Awaited<'_>],
    source: &str,
) -> sqlx::Result<Vec<String>> {
    bind_columns!(sqlx::query_scalar(MOVED_ON), awaited, one =>
        one.instance, one.context, one.stream, one.version, one.topic.as_str()
    )
    .bind(source)
    .fetch_all(connection)
    .await
}

/// Work in progress: kind, status, number, and the time of the oldest. Commands are those of a source to topics that begin with
/// `commands`, written since a time: all earlier ones are decided.
///
/// # Errors
/// Database errors.
pub async fn under_way(
    executor: impl PgExecutor<'_>,
    (commands, source): (&str, &str),
    since: Option<DateTime<Utc>>,
) -> sqlx::Result<Vec<(String, String, i64, Nearest)>> {
    sqlx::query_as(UNDER_WAY).bind(commands).bind(source).bind(since).fetch_all(executor).await
}

/// Whether one of some contexts has this stream, or a command of it that is decided or waits in a group.
///
/// # Errors
/// Database errors.
pub async fn knows_stream(
    executor: impl PgExecutor<'_>,
    (contexts, id): (&[&str], &str),
    group: &str,
) -> sqlx::Result<bool> {
    sqlx::query_scalar(KNOWS_STREAM).bind(contexts).bind(id).bind(group).fetch_one(executor).await
}
