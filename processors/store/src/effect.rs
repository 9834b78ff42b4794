//! The table `effect`: calls to external systems, each requested by an event.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, Row as _};
use uuid::Uuid;

use crate::columns::bind_columns;
use crate::database::milliseconds;
use crate::prune::{Aged, Batch};
use crate::statements::statements;
use crate::timestamp::Nearest;

/// The columns of a [`Leased`].
macro_rules! leased {
    ($update:literal) => {
        concat!(
            $update,
            "
    RETURNING key, request::text, attempts, unknown,
              greatest(least(extract(epoch FROM now() - first_called_at) * 1000, 1e15), -1e15)::bigint,
              greatest(least(extract(epoch FROM now() - created_at) * 1000, 1e15), -1e15)::bigint,
              event_id, correlation_id, traceparent, request_version"
        )
    };
}

/// Calls that ended longer ago than their retention and still have their bodies. A call with an unknown outcome keeps them: a
/// webhook may still report it.
macro_rules! prunable {
    () => {
        "FROM effect WHERE has_bodies AND ended_at < $1 AND NOT unknown AND status IN ('done', 'withdrawn', 'gave_up')"
    };
}

statements! {
    RECORD = "INSERT INTO effect (effect, request_version, key, context, stream, version, request, event_id, correlation_id,
                             traceparent)
         SELECT $1, $2, r.key, r.context, r.stream, r.version, r.request::json, r.event_id, r.correlation_id, r.traceparent
         FROM UNNEST($3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[], $9::text[], $10::text[])
              AS r(key, context, stream, version, request, event_id, correlation_id, traceparent)
         ON CONFLICT (effect, key) DO NOTHING";
    /// A call that is being made, or may have been made, is only marked; the result of its attempt decides.
    WITHDRAW = "UPDATE effect SET superfluous = true,
                status = CASE WHEN status = 'waiting' AND NOT unknown THEN 'withdrawn' ELSE status END,
                ended_at = CASE WHEN status = 'waiting' AND NOT unknown THEN now() END
         FROM UNNEST($2::text[], $3::text[], $4::bigint[]) AS w(context, stream, version)
         WHERE effect.effect = $1 AND effect.context = w.context AND effect.stream = w.stream
           AND effect.version < w.version AND effect.status IN ('waiting', 'calling')";
    /// Without calls whose request was stored by a later release that is deployed: its processes make them.
    LEASE = leased!("UPDATE effect SET status = 'calling', attempts = attempts + 1, unknown = unknown OR status = 'calling',
                first_called_at = coalesce(first_called_at, now()), due_at = now() + $3 * interval '1 ms'
         WHERE ctid = ANY (ARRAY(
             SELECT ctid FROM effect
             WHERE effect = $1 AND status IN ('waiting', 'calling') AND due_at <= now()
               AND NOT (request_version > $4 AND (SELECT release FROM deployed ORDER BY id DESC LIMIT 1) > $5)
             ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED))
         ");
    TAKE = leased!("UPDATE effect SET status = 'calling', attempts = attempts + 1,
                first_called_at = coalesce(first_called_at, now())
         WHERE effect = $1 AND key = $2 AND has_bodies
           AND (status IN ('waiting', 'calling', 'withdrawn') OR status = 'gave_up' AND unknown)
         ");
    OPEN = "SELECT effect, key, status, attempts, unknown, due_at, last_error FROM effect
         WHERE correlation_id = $1 AND status IN ('waiting', 'calling') ORDER BY created_at LIMIT $2";
    CALLS = "SELECT effect.effect, effect.key, status, attempts, unknown, due_at, last_error, event_id, created_at, ended_at,
                CASE WHEN has_bodies THEN answer::text END AS answer
         FROM UNNEST($1::text[], $2::uuid[]) AS asked(effect, key)
         JOIN effect ON effect.effect = asked.effect AND effect.key = asked.key";
    CALL = "SELECT CASE WHEN has_bodies THEN request::text END, answer::text, attempts, event_id, traceparent
         FROM effect WHERE effect = $1 AND key = $2";
    GIVEN_UP = "SELECT effect, count(*), (array_agg(context ORDER BY ended_at DESC))[1], (array_agg(stream ORDER BY ended_at DESC))[1]
         FROM effect WHERE status = 'gave_up' AND ended_at > $1 GROUP BY effect ORDER BY effect";
    /// A call that was not made and has become superfluous is not tried again.
    SETTLE = "UPDATE effect SET status = CASE WHEN $4 = 'waiting' AND NOT $5 AND superfluous THEN 'withdrawn' ELSE $4 END,
                unknown = $5, answer = $6::json, last_error = coalesce($7, last_error),
                due_at = now() + $8 * (0.5 + random() / 2) * interval '1 ms',
                -- The external system did nothing: how long it knows the key counts from the next try.
                first_called_at = CASE WHEN $4 = 'waiting' AND NOT $5 THEN NULL ELSE first_called_at END,
                ended_at = CASE WHEN $4 = 'waiting' AND ($5 OR NOT superfluous) THEN NULL ELSE now() END
         WHERE effect = $1 AND key = $2 AND status = 'calling' AND attempts = $3";
    PRUNABLE = concat!("SELECT count(*), min(ended_at) ", prunable!());
    PRUNE = concat!("UPDATE effect SET has_bodies = false, request = 'null', answer = NULL, last_error = NULL
         WHERE ctid = ANY (ARRAY(SELECT ctid ", prunable!(), " AND ended_at >= coalesce($2::timestamptz, '-infinity')
             ORDER BY ended_at LIMIT $3 FOR UPDATE SKIP LOCKED))
         RETURNING ended_at");
}

/// A call that an event requests.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The key by which the external system knows the call.
    pub key: Uuid,
    /// The event.
    pub place: Place,
    /// The request, as JSON.
    pub request: String,
    /// The event's id.
    pub event_id: String,
    /// The conversation that it belongs to.
    pub correlation_id: Option<String>,
    /// The trace that it belongs to.
    pub traceparent: Option<String>,
}

/// An event's place in its stream.
#[derive(Debug, Clone)]
pub struct Place {
    /// The context.
    pub context: &'static str,
    /// The stream.
    pub stream: String,
    /// The event's version.
    pub version: i64,
}

/// Writes requested calls, each once, with the version of the stored form of their requests; an existing row is not changed.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn record(
    connection: &mut PgConnection,
    (effect, request_version): (&str, i32),
    asked: &[Asked],
) -> sqlx::Result<()> {
    if asked.is_empty() {
        return Ok(());
    }
    bind_columns!(sqlx::query(RECORD).bind(effect).bind(request_version), asked, one =>
        one.key, one.place.context, one.place.stream.as_str(), one.place.version, one.request.as_str(),
        one.event_id.as_str(), one.correlation_id.as_deref(), one.traceparent.as_deref()
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Withdraws the calls that earlier events of these streams requested: at once if a call is known not to have been made, else as
/// soon as that is known.
///
/// # Errors
/// Database errors.
pub async fn withdraw(connection: &mut PgConnection, effect: &str, places: &[Place]) -> sqlx::Result<()> {
    if places.is_empty() {
        return Ok(());
    }
    bind_columns!(sqlx::query(WITHDRAW).bind(effect), places, place =>
        place.context, place.stream.as_str(), place.version
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// A leased call. No other process makes it before the lease ends.
#[derive(Debug, Clone)]
pub struct Leased {
    /// The key by which the external system knows the call.
    pub key: Uuid,
    /// The request, as JSON.
    pub request: String,
    /// The number of this attempt: a higher one in the row means that the lease was lost.
    pub attempt: i32,
    /// Whether it may have been made and its outcome is unknown.
    pub unknown: bool,
    /// The time since its first attempt.
    pub since_first: Duration,
    /// The time since it was requested.
    pub age: Duration,
    /// The id of the event that requested it.
    pub event_id: String,
    /// The conversation that it belongs to.
    pub correlation_id: Option<String>,
    /// The trace that it belongs to.
    pub traceparent: Option<String>,
    /// The version of the stored form of the request.
    pub request_version: i32,
}

type Row = (Uuid, String, i32, bool, i64, i64, String, Option<String>, Option<String>, i32);

fn leased(row: Row) -> Leased {
    let (key, request, attempt, unknown, since_first, age, event_id, correlation_id, traceparent, version) =
        row;
    Leased {
        key,
        request,
        attempt,
        unknown,
        since_first: duration(since_first),
        age: duration(age),
        event_id,
        correlation_id,
        traceparent,
        request_version: version,
    }
}

/// A duration that is never negative, even after the clock was set back.
fn duration(milliseconds: i64) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default())
}

/// Leases due calls. A call whose lease has expired is due too: its holder may have made it. `(request_version, release)` are
/// those of this build: a call whose request has a later version is left to a later release, if one is deployed.
///
/// # Errors
/// Database errors.
pub async fn lease(
    executor: impl PgExecutor<'_>,
    effect: &str,
    (request_version, release): (i32, i32),
    most: usize,
    lease: Duration,
) -> sqlx::Result<Vec<Leased>> {
    let rows = sqlx::query_as(LEASE).bind(effect).bind(i64::try_from(most).unwrap_or(i64::MAX));
    let rows = rows.bind(milliseconds(lease)).bind(request_version).bind(release);
    let rows: Vec<Row> = rows.fetch_all(executor).await?;
    Ok(rows.into_iter().map(leased).collect())
}

/// Takes the lease of a call without outcome from its holder.
///
/// # Errors
/// Database errors.
pub async fn take(connection: &mut PgConnection, effect: &str, key: Uuid) -> sqlx::Result<Option<Leased>> {
    let row: Option<Row> = sqlx::query_as(TAKE).bind(effect).bind(key).fetch_optional(connection).await?;
    Ok(row.map(leased))
}

/// What was asked for, and what is known of it.
#[derive(Debug, Clone)]
pub struct Known {
    /// The request as JSON, unless retention has removed it.
    pub request: Option<String>,
    /// The answer as JSON, if there is one.
    pub answer: Option<String>,
    /// The number of attempts.
    pub attempts: i32,
    /// The id of the event for which it was made.
    pub event_id: String,
    /// The header `traceparent` of what led to it.
    pub traceparent: Option<String>,
}

type KnownRow = (Option<String>, Option<String>, i32, String, Option<String>);

/// The call with this key; `None` when there is none.
///
/// # Errors
/// Database errors.
pub async fn call(connection: &mut PgConnection, effect: &str, key: Uuid) -> sqlx::Result<Option<Known>> {
    let row: Option<KnownRow> =
        sqlx::query_as(CALL).bind(effect).bind(key).fetch_optional(connection).await?;
    Ok(row.map(|(request, answer, attempts, event_id, traceparent)| Known {
        request,
        answer,
        attempts,
        event_id,
        traceparent,
    }))
}

/// A call that has not ended.
#[derive(Debug, Clone)]
pub struct Open {
    /// The effect.
    pub effect: String,
    /// The key by which the external system knows the call.
    pub key: Uuid,
    /// Whether it waits for its next try or is being made.
    pub status: String,
    /// The number of attempts.
    pub attempts: i32,
    /// Whether it was made and its outcome is not known.
    pub unknown: bool,
    /// When it is tried next; while it is being made, when its lease ends.
    pub due_at: DateTime<Utc>,
    /// Why the last try failed.
    pub last_error: Option<String>,
}

/// The calls of an effect that were given up since a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// The effect.
    pub effect: String,
    /// How many.
    pub count: i64,
    /// Context of the event that asked for the last of them.
    pub context: String,
    /// Stream of that event.
    pub stream: String,
}

/// The calls that were given up after a time, by effect.
///
/// # Errors
/// The database's.
pub async fn given_up(executor: impl PgExecutor<'_>, after: DateTime<Utc>) -> sqlx::Result<Vec<GivenUp>> {
    let rows: Vec<(String, i64, String, String)> =
        sqlx::query_as(GIVEN_UP).bind(after).fetch_all(executor).await?;
    let one = |(effect, count, context, stream)| GivenUp { effect, count, context, stream };
    Ok(rows.into_iter().map(one).collect())
}

/// The first calls of a conversation that have not ended.
///
/// # Errors
/// The database's.
pub async fn open(executor: impl PgExecutor<'_>, correlation_id: &str, most: i64) -> sqlx::Result<Vec<Open>> {
    let open: Vec<OpenRow> = sqlx::query_as(OPEN).bind(correlation_id).bind(most).fetch_all(executor).await?;
    Ok(open.into_iter().map(open_of).collect())
}

type OpenRow = (String, Uuid, String, i32, bool, Nearest, Option<String>);

fn open_of((effect, key, status, attempts, unknown, due_at, last_error): OpenRow) -> Open {
    Open { effect, key, status, attempts, unknown, due_at: due_at.0, last_error }
}

/// A call, open or ended.
#[derive(Debug, Clone)]
pub struct Made {
    /// What an open call has, too; of an ended call the time of its last try.
    pub call: Open,
    /// The id of the event that requested it.
    pub event_id: String,
    /// When it was requested.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// The answer, as JSON, until retention removes it.
    pub answer: Option<String>,
}

/// The calls with these effects and keys.
///
/// # Errors
/// Database errors.
pub async fn calls(executor: impl PgExecutor<'_>, keys: &[(&str, Uuid)]) -> sqlx::Result<Vec<Made>> {
    let rows = bind_columns!(sqlx::query(CALLS), keys, (effect, key) => *effect, *key);
    rows.fetch_all(executor).await?.iter().map(made).collect()
}

fn made(row: &PgRow) -> sqlx::Result<Made> {
    let call = Open {
        effect: row.try_get("effect")?,
        key: row.try_get("key")?,
        status: row.try_get("status")?,
        attempts: row.try_get("attempts")?,
        unknown: row.try_get("unknown")?,
        due_at: row.try_get::<Nearest, _>("due_at")?.0,
        last_error: row.try_get("last_error")?,
    };
    Ok(Made {
        call,
        event_id: row.try_get("event_id")?,
        created_at: row.try_get::<Nearest, _>("created_at")?.0,
        ended_at: row.try_get::<Option<Nearest>, _>("ended_at")?.map(|at| at.0),
        answer: row.try_get("answer")?,
    })
}

/// The result of an attempt.
#[derive(Debug, Clone, Copy)]
pub struct Settled<'s> {
    /// `done`, `gave_up` or `waiting`, which is `withdrawn` when the call was not made and is superfluous.
    pub status: &'static str,
    /// Whether the call may have been made and its outcome is unknown.
    pub unknown: bool,
    /// The answer, as JSON.
    pub answer: Option<&'s str>,
    /// Why there is no answer, for people.
    pub error: Option<&'s str>,
    /// The delay until the next attempt, at most.
    pub delay: Duration,
}

/// Writes the result of an attempt; false when the lease was lost to another process.
///
/// # Errors
/// Database errors.
pub async fn settle(
    connection: &mut PgConnection,
    effect: &str,
    (key, attempt): (Uuid, i32),
    settled: &Settled<'_>,
) -> sqlx::Result<bool> {
    let written = sqlx::query(SETTLE)
        .bind(effect)
        .bind(key)
        .bind(attempt)
        .bind(settled.status)
        .bind(settled.unknown)
        .bind(settled.answer)
        .bind(settled.error)
        .bind(milliseconds(settled.delay))
        .execute(connection)
        .await?;
    Ok(written.rows_affected() == 1)
}

/// The number and age of the calls whose bodies retention would remove.
///
/// # Errors
/// Database errors.
pub async fn prunable(executor: impl PgExecutor<'_>, before: DateTime<Utc>) -> sqlx::Result<Aged> {
    sqlx::query_as(PRUNABLE).bind(before).fetch_one(executor).await.map(Aged::of)
}

/// Removes the bodies of a batch of them, those that ended first; returns how many, and the time that it has reached. Key and
/// outcome are kept.
///
/// # Errors
/// Database errors.
pub async fn prune(
    connection: &mut PgConnection,
    batch: Batch,
) -> sqlx::Result<(usize, Option<DateTime<Utc>>)> {
    crate::prune::remove(connection, PRUNE, batch).await
}
