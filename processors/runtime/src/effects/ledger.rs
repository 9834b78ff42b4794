//! The ledger of calls. What is written here before a call and after it keeps the call from being made twice.

use std::time::Duration;

use millrace_domain::{Effect, GaveUp};
use millrace_store::database::milliseconds;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use uuid::Uuid;

use super::course::Known;
use crate::dead_letters::storable;
use crate::error::WorkError;
use crate::outbox::Cause;

/// A call that an event asks for.
pub(super) struct Asked {
    pub(super) key: Uuid,
    pub(super) place: Place,
    /// JSON.
    pub(super) request: String,
    pub(super) event_id: String,
    pub(super) correlation_id: Option<String>,
    pub(super) traceparent: Option<String>,
}

/// An event's place in its stream.
pub(super) struct Place {
    pub(super) context: &'static str,
    pub(super) stream: String,
    pub(super) version: i64,
}

/// A call that has its turn. Nobody else touches it before the lease ends.
pub(super) struct Leased {
    pub(super) key: Uuid,
    /// JSON.
    pub(super) request: String,
    /// This try's number: who has an older one has lost the lease.
    pub(super) attempt: i32,
    pub(super) known: Known,
    pub(super) cause: Cause,
}

/// What is written at the end of a turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The answer as JSON.
    Done(String),
    GaveUp(GaveUp),
    Later {
        error: String,
        unknown: bool,
        delay: Duration,
    },
}

/// Writes calls that are asked for, each once, whatever became of it since.
pub(super) async fn record<E: Effect>(
    connection: &mut PgConnection,
    asked: &[Asked],
) -> Result<(), WorkError> {
    if asked.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO effect (effect, key, context, stream, version, request, event_id, correlation_id, traceparent)
         SELECT $1, r.key, r.context, r.stream, r.version, r.request::json, r.event_id, r.correlation_id, r.traceparent
         FROM UNNEST($2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[])
              AS r(key, context, stream, version, request, event_id, correlation_id, traceparent)
         ON CONFLICT (effect, key) DO NOTHING",
    )
    .bind(E::NAME)
    .bind(asked.iter().map(|one| one.key).collect::<Vec<_>>())
    .bind(asked.iter().map(|one| one.place.context).collect::<Vec<_>>())
    .bind(asked.iter().map(|one| one.place.stream.as_str()).collect::<Vec<_>>())
    .bind(asked.iter().map(|one| one.place.version).collect::<Vec<_>>())
    .bind(asked.iter().map(|one| one.request.as_str()).collect::<Vec<_>>())
    .bind(asked.iter().map(|one| one.event_id.as_str()).collect::<Vec<_>>())
    .bind(asked.iter().map(|one| one.correlation_id.as_deref()).collect::<Vec<_>>())
    .bind(asked.iter().map(|one| one.traceparent.as_deref()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Withdraws the calls that earlier events of these streams asked for and that are known not to have been made.
pub(super) async fn withdraw<E: Effect>(
    connection: &mut PgConnection,
    places: &[Place],
) -> Result<(), WorkError> {
    if places.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE effect SET status = 'withdrawn', ended_at = now()
         FROM UNNEST($2::text[], $3::text[], $4::bigint[]) AS w(context, stream, version)
         WHERE effect.effect = $1 AND effect.context = w.context AND effect.stream = w.stream
           AND effect.version < w.version AND effect.status = 'waiting' AND NOT effect.unknown",
    )
    .bind(E::NAME)
    .bind(places.iter().map(|place| place.context).collect::<Vec<_>>())
    .bind(places.iter().map(|place| place.stream.as_str()).collect::<Vec<_>>())
    .bind(places.iter().map(|place| place.version).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes calls that are due, and commits that before any of them is made. A lease that has ended is due too: whoever had it
/// may have made the call.
pub(super) async fn lease<E: Effect>(
    pool: &PgPool,
    most: usize,
    lease: Duration,
) -> Result<Vec<Leased>, WorkError> {
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(format!(
        "UPDATE effect SET status = 'calling', attempts = attempts + 1, unknown = unknown OR status = 'calling',
                first_called_at = coalesce(first_called_at, now()), due_at = now() + $3 * interval '1 ms'
         WHERE ctid = ANY (ARRAY(
             SELECT ctid FROM effect
             WHERE effect = $1 AND status IN ('waiting', 'calling') AND due_at <= now()
             ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED))
         {LEASED}"
    )))
    .bind(E::NAME)
    .bind(i64::try_from(most).unwrap_or(i64::MAX))
    .bind(milliseconds(lease))
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(leased).collect())
}

/// Takes a call whose outcome is not known, from whoever has its lease, to write the answer in the same transaction.
pub(super) async fn take<E: Effect>(
    connection: &mut PgConnection,
    key: Uuid,
) -> Result<Option<Leased>, WorkError> {
    let row: Option<Row> = sqlx::query_as(AssertSqlSafe(format!(
        "UPDATE effect SET status = 'calling', attempts = attempts + 1,
                first_called_at = coalesce(first_called_at, now())
         WHERE effect = $1 AND key = $2 AND (status IN ('waiting', 'calling', 'withdrawn') OR status = 'gave_up' AND unknown)
         {LEASED}"
    )))
    .bind(E::NAME)
    .bind(key)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(leased))
}

/// A call that has come to its end: what was asked for, and the answer if there was one, both as JSON.
pub(super) struct Ended {
    pub(super) request: String,
    pub(super) answer: Option<String>,
}

/// The call with this key, whatever became of it.
pub(super) async fn ended<E: Effect>(
    connection: &mut PgConnection,
    key: Uuid,
) -> Result<Option<Ended>, WorkError> {
    let call = "SELECT request::text, answer::text FROM effect WHERE effect = $1 AND key = $2";
    let call: Option<(String, Option<String>)> =
        sqlx::query_as(call).bind(E::NAME).bind(key).fetch_optional(connection).await?;
    Ok(call.map(|(request, answer)| Ended { request, answer }))
}

/// What a [`Leased`] is made of.
const LEASED: &str = "
    RETURNING key, request::text, attempts, unknown,
              greatest(least(extract(epoch FROM now() - first_called_at) * 1000, 1e15), -1e15)::bigint,
              greatest(least(extract(epoch FROM now() - created_at) * 1000, 1e15), -1e15)::bigint,
              event_id, correlation_id, traceparent";

type Row = (Uuid, String, i32, bool, i64, i64, String, Option<String>, Option<String>);

fn leased(
    (key, request, attempt, unknown, since_first, age, id, correlation_id, traceparent): Row,
) -> Leased {
    let known = Known { unknown, since_first: duration(since_first), age: duration(age) };
    let cause = Cause { id, correlation_id, traceparent, occurred_at: None };
    Leased { key, request, attempt, known, cause }
}

/// Writes how a turn ended; false when the lease was lost to another, whose word counts then.
pub(super) async fn settle<E: Effect>(
    connection: &mut PgConnection,
    leased: &Leased,
    entry: &Entry,
) -> Result<bool, WorkError> {
    let (status, unknown, answer, error, delay) = match entry {
        Entry::Done(answer) => ("done", false, Some(answer), None, Duration::ZERO),
        Entry::GaveUp(why) => ("gave_up", why.unknown, None, Some(&why.reason), Duration::ZERO),
        Entry::Later { error, unknown, delay } => ("waiting", *unknown, None, Some(error), *delay),
    };
    let written = sqlx::query(
        "UPDATE effect SET status = $4, unknown = $5, answer = $6::json, last_error = coalesce($7, last_error),
                due_at = now() + $8 * (0.5 + random() / 2) * interval '1 ms',
                -- Nothing was done outside: how long a key is known there counts from the next try.
                first_called_at = CASE WHEN $4 = 'waiting' AND NOT $5 THEN NULL ELSE first_called_at END,
                ended_at = CASE WHEN $4 = 'waiting' THEN NULL ELSE now() END
         WHERE effect = $1 AND key = $2 AND status = 'calling' AND attempts = $3",
    )
    .bind(E::NAME)
    .bind(leased.key)
    .bind(leased.attempt)
    .bind(status)
    .bind(unknown)
    .bind(answer)
    .bind(error.map(|error| storable(error)))
    .bind(milliseconds(delay))
    .execute(connection)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// How many calls have not come to their end.
pub(super) async fn waiting<E: Effect>(pool: &PgPool) -> Result<i64, WorkError> {
    let count = "SELECT count(*) FROM effect WHERE effect = $1 AND status IN ('waiting', 'calling')";
    Ok(sqlx::query_scalar(count).bind(E::NAME).fetch_one(pool).await?)
}

/// A clock that was set back gives no negative time.
fn duration(milliseconds: i64) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default())
}
