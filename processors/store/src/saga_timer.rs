//! The table `saga_timer`: timers that are set. Each time a timer is set it has a new id.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::columns::bind_columns;
use crate::database::milliseconds;
use crate::statements::statements;
use crate::timestamp::Nearest;

statements! {
    SET = "INSERT INTO saga_timer (saga, instance, name, due_at, by_calendar)
             SELECT $1, instance, name, coalesce(due, now() + after * interval '1 ms'), due IS NOT NULL
             FROM UNNEST($2::text[], $3::text[], $4::bigint[], $5::timestamptz[]) AS r(instance, name, after, due)
             ON CONFLICT (saga, instance, name) DO UPDATE
             SET id = excluded.id, set_at = excluded.set_at, due_at = excluded.due_at, by_calendar = excluded.by_calendar,
                 attempts = 0, error = NULL";
    CANCEL = "DELETE FROM saga_timer USING UNNEST($2::text[], $3::text[]) AS r(instance, name)
             WHERE saga_timer.saga = $1 AND saga_timer.instance = r.instance AND saga_timer.name = r.name";
    /// Only those to come, and each instance by its key: when many timers are overdue, each look costs what it returns.
    SOON = "SELECT instance FROM saga_timer AS t
         WHERE saga = $1 AND due_at > now() AND due_at <= now() + $2 * interval '1 ms' AND NOT by_calendar AND (
                 SELECT sent_at IS NULL AND awaiting::text <> '{}' FROM saga AS s
                 WHERE s.saga = t.saga AND s.instance = t.instance)
             ORDER BY due_at LIMIT $3";
    /// Without instances whose state was written by a later release that is deployed: its processes fire their timers.
    INSTANCES_DUE = "SELECT instance FROM saga_timer AS t WHERE saga = $1 AND due_at <= now() AND attempts <= $2 AND NOT EXISTS (
                 SELECT FROM saga AS s WHERE s.saga = t.saga AND s.instance = t.instance AND s.state_version > $4
                     AND (SELECT release FROM deployed ORDER BY id DESC LIMIT 1) > $5)
             ORDER BY due_at LIMIT $3";
    DUE = "SELECT instance, name, id, attempts, now() FROM saga_timer
         WHERE saga = $1 AND instance = ANY($2) AND due_at <= now() AND attempts <= $3 ORDER BY due_at";
    REMOVE = "DELETE FROM saga_timer WHERE saga = $1 AND id = ANY($2)";
    PUT_OFF = "UPDATE saga_timer SET due_at = now() + r.after * interval '1 ms', attempts = r.attempts, error = r.error
         FROM UNNEST($2::uuid[], $3::bigint[], $4::int[], $5::text[]) AS r(id, after, attempts, error)
         WHERE saga = $1 AND saga_timer.id = r.id";
    OVERDUE = "SELECT saga, count(*), min(due_at) FROM saga_timer
         WHERE saga = ANY($1) AND due_at <= now() GROUP BY saga ORDER BY saga";
    OF_INSTANCE = "SELECT name, set_at, least(due_at, '9999-12-31') AS due_at, attempts, error FROM saga_timer
         WHERE saga = $1 AND instance = $2 ORDER BY due_at";
}

/// A timer to be set.
#[derive(Debug, Clone, Copy)]
pub struct New<'t> {
    /// The instance.
    pub instance: &'t str,
    /// Its name.
    pub name: &'t str,
    /// Its duration in milliseconds, unless it has an absolute time.
    pub after: i64,
    /// The absolute time at which it is due.
    pub due: Option<DateTime<Utc>>,
}

/// Sets timers; a timer that is set already is replaced.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn set(connection: &mut PgConnection, saga: &str, timers: &[New<'_>]) -> sqlx::Result<()> {
    if timers.is_empty() {
        return Ok(());
    }
    bind_columns!(sqlx::query(SET).bind(saga), timers, timer =>
        timer.instance, timer.name, timer.after, timer.due
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Removes timers, by instance and name.
///
/// # Errors
/// Database errors.
pub async fn cancel(connection: &mut PgConnection, saga: &str, timers: &[(&str, &str)]) -> sqlx::Result<()> {
    if timers.is_empty() {
        return Ok(());
    }
    bind_columns!(sqlx::query(CANCEL).bind(saga), timers, (instance, name) => *instance, *name)
        .execute(connection)
        .await
        .map(|_| ())
}

/// The instances that have a timer which is not due yet and is within `soon`, and whose commands have no known WAL position. Timers
/// of the calendar are left out: most of their instances wait for no command.
///
/// # Errors
/// Database errors.
pub async fn soon(
    executor: impl PgExecutor<'_>,
    saga: &str,
    soon: Duration,
    most: i64,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(SOON).bind(saga).bind(milliseconds(soon)).bind(most).fetch_all(executor).await
}

/// The instances of timers that are due and have not failed more than `attempts_max` times. `(state_version, release)` are those
/// of this build: an instance whose state has a later version is left to a later release, if one is deployed.
///
/// # Errors
/// Database errors.
pub async fn instances_due(
    connection: &mut PgConnection,
    saga: &str,
    (state_version, release): (i32, i32),
    attempts_max: i64,
    most: i64,
) -> sqlx::Result<Vec<String>> {
    let due = sqlx::query_scalar(INSTANCES_DUE).bind(saga).bind(attempts_max).bind(most);
    due.bind(state_version).bind(release).fetch_all(connection).await
}

/// Instance, name, id, failed attempts, and the time of the database's clock.
pub type Due = (String, String, Uuid, i32, DateTime<Utc>);

/// The timers of some instances that are due, and have not failed more than `attempts_max` times.
///
/// # Errors
/// Database errors.
pub async fn due(
    connection: &mut PgConnection,
    saga: &str,
    instances: &[&str],
    attempts_max: i64,
) -> sqlx::Result<Vec<Due>> {
    sqlx::query_as(DUE).bind(saga).bind(instances).bind(attempts_max).fetch_all(connection).await
}

/// Removes timers by id; a timer that was set again has another id and stays.
///
/// # Errors
/// Database errors.
pub async fn remove(connection: &mut PgConnection, saga: &str, ids: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query(REMOVE).bind(saga).bind(ids).execute(connection).await.map(|_| ())
}

/// A timer to put off: id, delay in milliseconds, failed attempts, and the last error.
pub type Later<'t> = (Uuid, i64, i32, Option<&'t str>);

/// Puts timers off, by id.
///
/// # Errors
/// Database errors.
pub async fn put_off(connection: &mut PgConnection, saga: &str, later: &[Later<'_>]) -> sqlx::Result<()> {
    bind_columns!(sqlx::query(PUT_OFF).bind(saga), later, (id, after, attempts, error) =>
        *id, *after, *attempts, *error
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// A timer: name, when it was set, when it is due, failed attempts, and the last error.
pub type Timer = (String, Nearest, Nearest, i32, Option<String>);

/// The timers of an instance.
///
/// # Errors
/// Database errors.
pub async fn of_instance(
    executor: impl PgExecutor<'_>,
    saga: &str,
    instance: &str,
) -> sqlx::Result<Vec<Timer>> {
    sqlx::query_as(OF_INSTANCE).bind(saga).bind(instance).fetch_all(executor).await
}

/// The number of due timers of each of these sagas, and when the first became due.
///
/// # Errors
/// Database errors.
pub async fn overdue(
    executor: impl PgExecutor<'_>,
    sagas: &[&str],
) -> sqlx::Result<Vec<(String, i64, Nearest)>> {
    sqlx::query_as(OVERDUE).bind(sagas).fetch_all(executor).await
}
