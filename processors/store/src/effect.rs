//! The table `effect`: calls to external systems, each asked for by an event.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::columns::bind_columns;
use crate::database::milliseconds;
use crate::prune::{Aged, Batch, reached};
use crate::statements::statements;
use crate::timestamp::Nearest;

/// What a [`Leased`] is made of.
macro_rules! leased {
    ($update:literal) => {
        concat!(
            $update,
            "
    RETURNING key, request::text, attempts, unknown,
              greatest(least(extract(epoch FROM now() - first_called_at) * 1000, 1e15), -1e15)::bigint,
              greatest(least(extract(epoch FROM now() - created_at) * 1000, 1e15), -1e15)::bigint,
              event_id, correlation_id, traceparent"
        )
    };
}

/// Calls that ended long ago and whose bodies are still there. One whose outcome is not known keeps them: it may still be told.
macro_rules! prunable {
    () => {
        "FROM effect WHERE has_bodies AND ended_at < $1 AND NOT unknown AND status IN ('done', 'withdrawn', 'gave_up')"
    };
}

statements! {
    RECORD = "INSERT INTO effect (effect, key, context, stream, version, request, event_id, correlation_id, traceparent)
         SELECT $1, r.key, r.context, r.stream, r.version, r.request::json, r.event_id, r.correlation_id, r.traceparent
         FROM UNNEST($2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[])
              AS r(key, context, stream, version, request, event_id, correlation_id, traceparent)
         ON CONFLICT (effect, key) DO NOTHING";
    /// One that is being made, or may have been, is marked only: how its try ends decides.
    WITHDRAW = "UPDATE effect SET superfluous = true,
                status = CASE WHEN status = 'waiting' AND NOT unknown THEN 'withdrawn' ELSE status END,
                ended_at = CASE WHEN status = 'waiting' AND NOT unknown THEN now() END
         FROM UNNEST($2::text[], $3::text[], $4::bigint[]) AS w(context, stream, version)
         WHERE effect.effect = $1 AND effect.context = w.context AND effect.stream = w.stream
           AND effect.version < w.version AND effect.status IN ('waiting', 'calling')";
    LEASE = leased!("UPDATE effect SET status = 'calling', attempts = attempts + 1, unknown = unknown OR status = 'calling',
                first_called_at = coalesce(first_called_at, now()), due_at = now() + $3 * interval '1 ms'
         WHERE ctid = ANY (ARRAY(
             SELECT ctid FROM effect
             WHERE effect = $1 AND status IN ('waiting', 'calling') AND due_at <= now()
             ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED))
         ");
    TAKE = leased!("UPDATE effect SET status = 'calling', attempts = attempts + 1,
                first_called_at = coalesce(first_called_at, now())
         WHERE effect = $1 AND key = $2 AND has_bodies
           AND (status IN ('waiting', 'calling', 'withdrawn') OR status = 'gave_up' AND unknown)
         ");
    OPEN = "SELECT effect, key, status, attempts, unknown, due_at, last_error FROM effect
         WHERE correlation_id = $1 AND status IN ('waiting', 'calling') ORDER BY created_at LIMIT $2";
    CALL = "SELECT CASE WHEN has_bodies THEN request::text END, answer::text FROM effect WHERE effect = $1 AND key = $2";
    /// What was not made and became superfluous meanwhile is not tried again.
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

/// A call that an event asks for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The key by which the external system knows the call.
    pub key: Uuid,
    /// The event.
    pub place: Place,
    /// What is asked, JSON.
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

/// Writes calls that are asked for, each once, whatever became of it since.
///
/// # Errors
/// The database's, as of every function here.
pub async fn record(connection: &mut PgConnection, effect: &str, asked: &[Asked]) -> sqlx::Result<()> {
    if asked.is_empty() {
        return Ok(());
    }
    bind_columns!(sqlx::query(RECORD).bind(effect), asked, one =>
        one.key, one.place.context, one.place.stream.as_str(), one.place.version, one.request.as_str(),
        one.event_id.as_str(), one.correlation_id.as_deref(), one.traceparent.as_deref()
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Withdraws the calls that earlier events of these streams asked for: at once those that are known not to have been made, the
/// others when that is known of them.
///
/// # Errors
/// The database's.
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

/// A leased call. No other process touches it before the lease ends.
#[derive(Debug, Clone)]
pub struct Leased {
    /// The key by which the external system knows the call.
    pub key: Uuid,
    /// What is asked, JSON.
    pub request: String,
    /// This try's number: an older one means a lost lease.
    pub attempt: i32,
    /// Whether it was made before and its outcome is not known.
    pub unknown: bool,
    /// How long ago it was made first.
    pub since_first: Duration,
    /// How long ago it was asked for.
    pub age: Duration,
    /// The id of the event that asked for it.
    pub event_id: String,
    /// The conversation that it belongs to.
    pub correlation_id: Option<String>,
    /// The trace that it belongs to.
    pub traceparent: Option<String>,
}

type Row = (Uuid, String, i32, bool, i64, i64, String, Option<String>, Option<String>);

fn leased(row: Row) -> Leased {
    let (key, request, attempt, unknown, since_first, age, event_id, correlation_id, traceparent) = row;
    let (since_first, age) = (duration(since_first), duration(age));
    Leased { key, request, attempt, unknown, since_first, age, event_id, correlation_id, traceparent }
}

/// A clock that was set back gives no negative time.
fn duration(milliseconds: i64) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default())
}

/// Takes calls that are due. A lease that has ended is due too: its holder may have made the call.
///
/// # Errors
/// The database's.
pub async fn lease(
    executor: impl PgExecutor<'_>,
    effect: &str,
    most: usize,
    lease: Duration,
) -> sqlx::Result<Vec<Leased>> {
    let rows = sqlx::query_as(LEASE).bind(effect).bind(i64::try_from(most).unwrap_or(i64::MAX));
    let rows: Vec<Row> = rows.bind(milliseconds(lease)).fetch_all(executor).await?;
    Ok(rows.into_iter().map(leased).collect())
}

/// Takes a call whose outcome is not known, from the holder of its lease.
///
/// # Errors
/// The database's.
pub async fn take(connection: &mut PgConnection, effect: &str, key: Uuid) -> sqlx::Result<Option<Leased>> {
    let row: Option<Row> = sqlx::query_as(TAKE).bind(effect).bind(key).fetch_optional(connection).await?;
    Ok(row.map(leased))
}

/// What was asked for, unless retention has removed it, and the answer if there is one, both as JSON; `None` when there is no
/// such call.
///
/// # Errors
/// The database's.
pub async fn call(
    connection: &mut PgConnection,
    effect: &str,
    key: Uuid,
) -> sqlx::Result<Option<(Option<String>, Option<String>)>> {
    sqlx::query_as(CALL).bind(effect).bind(key).fetch_optional(connection).await
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
    /// How often it was tried.
    pub attempts: i32,
    /// Whether it was made and its outcome is not known.
    pub unknown: bool,
    /// When it is tried next; while it is being made, when its lease ends.
    pub due_at: DateTime<Utc>,
    /// Why the last try failed.
    pub last_error: Option<String>,
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

/// How a try ended.
#[derive(Debug, Clone, Copy)]
pub struct Settled<'s> {
    /// `done`, `gave_up` or `waiting`, which is `withdrawn` when the call was not made and is superfluous.
    pub status: &'static str,
    /// Whether the call was made and its outcome is not known.
    pub unknown: bool,
    /// The answer, JSON.
    pub answer: Option<&'s str>,
    /// Why there is none, for people.
    pub error: Option<&'s str>,
    /// How long until its next try, at most.
    pub delay: Duration,
}

/// Writes how a try ended; false when the lease was lost to another process.
///
/// # Errors
/// The database's.
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

/// How many calls there are whose bodies retention removes.
///
/// # Errors
/// The database's.
pub async fn prunable(executor: impl PgExecutor<'_>, before: DateTime<Utc>) -> sqlx::Result<Aged> {
    sqlx::query_as(PRUNABLE).bind(before).fetch_one(executor).await.map(Aged::of)
}

/// Removes the bodies of some of them, those first that ended first; of how many, and how far it came. Key and outcome stay.
///
/// # Errors
/// The database's.
pub async fn prune(
    connection: &mut PgConnection,
    Batch { before, from, most }: Batch,
) -> sqlx::Result<(usize, Option<DateTime<Utc>>)> {
    let gone = sqlx::query_scalar(PRUNE).bind(before).bind(from).bind(most).fetch_all(connection);
    let gone: Vec<Nearest> = gone.await?;
    Ok((gone.len(), reached(gone.into_iter())))
}
