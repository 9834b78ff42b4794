//! The table `saga`: one row for each instance, with its state.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor, Row as _};
use uuid::Uuid;

use crate::columns::bind_columns;
use crate::database::milliseconds;
use crate::prune::{Batch, reached};
use crate::saga_step::Gone;
use crate::statements::statements;
use crate::timestamp::Nearest;

statements! {
    LOCK_UNMARKED = "SELECT FROM saga WHERE saga = $1 AND instance = ANY($2) AND sent_at IS NULL AND awaiting::text <> '{}'
         ORDER BY instance FOR UPDATE";
    MARK_SENT = "UPDATE saga SET sent_at = pg_current_wal_insert_lsn()
         WHERE saga = $1 AND instance = ANY($2) AND sent_at IS NULL AND awaiting::text <> '{}'";
    LOCK = "SELECT instance, version, state_version, state, awaiting, sent, correlation_id, traceparent
         FROM saga WHERE saga = $1 AND instance = ANY($2) ORDER BY instance FOR UPDATE";
    UPDATE = "
    UPDATE saga SET version = r.version, state_version = $2, state = r.state, standing = r.standing, ended = r.ended,
                    awaiting = r.awaiting, sent = r.sent, updated_at = now(), has_steps = true,
                    sent_at = CASE WHEN r.sends THEN NULL ELSE saga.sent_at END
    FROM UNNEST($3::text[], $4::bigint[], $5::json[], $6::text[], $7::bool[], $8::json[], $9::json[], $10::text[],
                $11::text[], $12::bool[])
         AS r(instance, version, state, standing, ended, awaiting, sent, correlation_id, traceparent, sends)
    WHERE saga.saga = $1 AND saga.instance = r.instance";
    INSERT = "
    INSERT INTO saga (saga, state_version, instance, version, state, standing, ended, awaiting, sent, correlation_id,
                      traceparent)
    SELECT $1, $2, r.instance, r.version, r.state, r.standing, r.ended, r.awaiting, r.sent, r.correlation_id, r.traceparent
    FROM UNNEST($3::text[], $4::bigint[], $5::json[], $6::text[], $7::bool[], $8::json[], $9::json[], $10::text[],
                $11::text[], $12::bool[])
         AS r(instance, version, state, standing, ended, awaiting, sent, correlation_id, traceparent, sends)
    ON CONFLICT DO NOTHING";
    NOT_CARRIED = "SELECT instance FROM saga
             WHERE saga = $1 AND instance = ANY($2) AND awaiting::text <> '{}' AND (sent_at IS NULL OR sent_at > coalesce(
                 (SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = $3), '0/0'))";
    LOCK_ENDED = "SELECT saga, instance, started_at FROM saga
         WHERE ended AND has_steps AND started_at < $1 AND updated_at < $1 AND started_at >= coalesce($2::timestamptz, '-infinity')
         ORDER BY started_at LIMIT $3 FOR UPDATE SKIP LOCKED";
    STEPS_GONE = "UPDATE saga AS s SET has_steps = false, answered = coalesce(s.answered, '{}') || coalesce(gone.inputs, '{}')
         FROM (SELECT r.saga, r.instance, array_agg(step.input) FILTER (WHERE step.input IS NOT NULL) AS inputs
               FROM UNNEST($1::text[], $2::text[]) AS r(saga, instance)
               LEFT JOIN UNNEST($3::text[], $4::text[], $5::bigint[]) AS step(saga, instance, input) USING (saga, instance)
               GROUP BY 1, 2) AS gone
         WHERE s.saga = gone.saga AND s.instance = gone.instance";
    UNDER_WAY = "SELECT saga, instance, standing FROM saga_under_way WHERE saga = ANY($1) AND instance = ANY($2)";
    STATE = "SELECT state, correlation_id FROM saga WHERE saga = $1 AND instance = $2";
    /// An operator may disable a timer with a due time of `infinity`, which must not be decoded.
    FIND = "
    SELECT * FROM (
        SELECT s.saga, s.instance, s.standing, s.ended, s.version, s.started_at, s.updated_at, s.awaiting,
               (SELECT least(min(due_at), '9999-12-31') FROM saga_timer AS t
                WHERE t.saga = s.saga AND t.instance = s.instance) AS due_at,
               coalesce(
                   (SELECT 'its next record is ' || CASE b.status WHEN 'dead' THEN 'a dead letter: ' ELSE 'tried again: ' END
                           || coalesce(b.message, '')
                    FROM blocked_key AS b
                    WHERE b.grp = $1 || s.saga AND b.key = convert_to(s.instance, 'UTF8') LIMIT 1),
                   (SELECT 'its timer ' || t.name || ' fails: ' || t.error FROM saga_timer AS t
                    WHERE t.saga = s.saga AND t.instance = s.instance AND t.error IS NOT NULL LIMIT 1),
                   (SELECT 'no step since' FROM saga_under_way AS u
                    WHERE u.saga = s.saga AND u.instance = s.instance
                      AND greatest(s.updated_at, (SELECT max(t.due_at) FROM saga_timer AS t WHERE t.saga = s.saga
                                                  AND t.instance = s.instance AND t.by_calendar))
                          < now() - $2 * interval '1 ms')
               ) AS stuck
        FROM saga AS s
        WHERE ($3::text IS NULL OR s.saga = $3) AND ($4::text IS NULL OR s.instance = $4)
          AND ($5::text IS NULL OR s.standing = $5) AND ($6 OR NOT s.ended)
    ) AS found
    WHERE NOT $7 OR stuck IS NOT NULL
    ORDER BY started_at, saga, instance LIMIT $8";
}

/// Stores an upper bound of the WAL position of the last commands of some instances that wait for them: the current end, since the
/// commands are visible. Needs a transaction.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn mark_sent(connection: &mut PgConnection, saga: &str, instances: &[&str]) -> sqlx::Result<()> {
    for statement in [LOCK_UNMARKED, MARK_SENT] {
        sqlx::query(statement).bind(saga).bind(instances).execute(&mut *connection).await?;
    }
    Ok(())
}

/// A locked instance.
#[derive(Debug, Clone)]
pub struct Locked {
    /// Its name.
    pub instance: String,
    /// The number of steps.
    pub version: i64,
    /// The version of the code that wrote the state.
    pub state_version: i32,
    /// Its state.
    pub state: Value,
    /// The commands whose outcome it waits for, id and type.
    pub awaiting: Value,
    /// The number of commands that it has sent, by type.
    pub sent: Value,
    /// The conversation that it belongs to.
    pub correlation_id: Option<String>,
    /// The trace that it belongs to.
    pub traceparent: Option<String>,
}

type Row = (String, i64, i32, Json<Value>, Json<Value>, Json<Value>, Option<String>, Option<String>);

fn locked(
    (instance, version, state_version, state, awaiting, sent, correlation_id, traceparent): Row,
) -> Locked {
    let (Json(state), Json(awaiting), Json(sent)) = (state, awaiting, sent);
    Locked { instance, version, state_version, state, awaiting, sent, correlation_id, traceparent }
}

/// Locks and loads instances, in a fixed order.
///
/// # Errors
/// Database errors.
pub async fn lock(
    connection: &mut PgConnection,
    saga: &str,
    instances: Vec<&str>,
) -> sqlx::Result<Vec<Locked>> {
    let rows = sqlx::query_as(LOCK).bind(saga).bind(instances).fetch_all(connection).await?;
    Ok(rows.into_iter().map(locked).collect())
}

/// An instance that has taken steps.
#[derive(Debug, Clone)]
pub struct Moved<'i> {
    /// Its name.
    pub instance: &'i str,
    /// The number of steps.
    pub version: i64,
    /// Its state.
    pub state: Value,
    /// Its standing.
    pub standing: &'i str,
    /// Whether it has ended.
    pub ended: bool,
    /// The commands whose outcome it waits for, with their types.
    pub awaiting: &'i BTreeMap<Uuid, String>,
    /// The number of commands that it has sent, by type.
    pub sent: &'i BTreeMap<String, u64>,
    /// The conversation that it belongs to.
    pub correlation_id: Option<&'i str>,
    /// The trace that it belongs to.
    pub traceparent: Option<&'i str>,
    /// Whether its last steps send commands.
    pub sends: bool,
}

/// Updates instances that have a row; returns how many.
///
/// # Errors
/// Database errors.
pub async fn update(
    connection: &mut PgConnection,
    saga: (&str, i32),
    rows: &[Moved<'_>],
) -> sqlx::Result<u64> {
    write(connection, UPDATE, saga, rows).await
}

/// Inserts instances that have no row; returns how many.
///
/// # Errors
/// Database errors.
pub async fn insert(
    connection: &mut PgConnection,
    saga: (&str, i32),
    rows: &[Moved<'_>],
) -> sqlx::Result<u64> {
    write(connection, INSERT, saga, rows).await
}

async fn write(
    connection: &mut PgConnection,
    statement: &'static str,
    (saga, state_version): (&str, i32),
    rows: &[Moved<'_>],
) -> sqlx::Result<u64> {
    let written = bind_columns!(sqlx::query(statement).bind(saga).bind(state_version), rows, row =>
        row.instance, row.version, Json(&row.state), row.standing, row.ended, Json(row.awaiting),
        Json(row.sent), row.correlation_id, row.traceparent, row.sends
    )
    .execute(connection)
    .await?;
    Ok(written.rows_affected())
}

/// Those of some instances whose commands Debezium has not carried yet, according to the slot of this name.
///
/// # Errors
/// Database errors.
pub async fn not_carried(
    connection: &mut PgConnection,
    saga: &str,
    instances: &[&str],
    slot: &str,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(NOT_CARRIED).bind(saga).bind(instances).bind(slot).fetch_all(connection).await
}

/// The state of an instance, and the correlation id of its conversation.
///
/// # Errors
/// The database's, also when there is no such instance.
pub async fn state(
    executor: impl PgExecutor<'_>,
    saga: &str,
    instance: &str,
) -> sqlx::Result<(Value, Option<String>)> {
    let (Json(state), correlation_id) =
        sqlx::query_as(STATE).bind(saga).bind(instance).fetch_one(executor).await?;
    Ok((state, correlation_id))
}

/// Those of some instances that will go on by themselves: saga, instance, standing.
///
/// # Errors
/// The database's.
pub async fn under_way(
    executor: impl PgExecutor<'_>,
    sagas: &[&str],
    instances: &[&str],
) -> sqlx::Result<Vec<(String, String, String)>> {
    sqlx::query_as(UNDER_WAY).bind(sagas).bind(instances).fetch_all(executor).await
}

/// An instance, and why it is stuck.
#[derive(Debug, Clone)]
pub struct Found {
    /// The saga.
    pub saga: String,
    /// The instance's name.
    pub instance: String,
    /// Its standing.
    pub standing: String,
    /// Whether it has ended.
    pub ended: bool,
    /// The number of steps.
    pub steps: i64,
    /// When the first was taken.
    pub started_at: DateTime<Utc>,
    /// When the last was taken.
    pub updated_at: DateTime<Utc>,
    /// When its next timer is due.
    pub due_at: Option<DateTime<Utc>>,
    /// The commands whose outcome it waits for, id and type.
    pub awaiting: Value,
    /// Why it needs an operator.
    pub stuck: Option<String>,
}

/// A filter of instances; `None` matches all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'f> {
    /// Of this saga.
    pub saga: Option<&'f str>,
    /// Of this name.
    pub instance: Option<&'f str>,
    /// With this standing.
    pub standing: Option<&'f str>,
    /// Also those that have ended.
    pub ended: bool,
    /// Only those that need an operator.
    pub stuck: bool,
    /// An instance that has not ended and has taken no step for this long is stuck.
    pub stuck_after: Duration,
    /// At most this many.
    pub limit: i64,
}

/// Finds instances, the oldest first. The group of a saga has the name `group_prefix` followed by the saga's name.
///
/// # Errors
/// Database errors.
pub async fn find(
    executor: impl PgExecutor<'_>,
    group_prefix: &str,
    filter: &Filter<'_>,
) -> sqlx::Result<Vec<Found>> {
    let rows = sqlx::query(FIND)
        .bind(group_prefix)
        .bind(milliseconds(filter.stuck_after))
        .bind(filter.saga)
        .bind(filter.instance)
        .bind(filter.standing)
        .bind(filter.ended)
        .bind(filter.stuck)
        .bind(filter.limit)
        .fetch_all(executor)
        .await?;
    rows.iter().map(found).collect()
}

fn found(row: &PgRow) -> sqlx::Result<Found> {
    let Json(awaiting) = row.try_get("awaiting")?;
    Ok(Found {
        saga: row.try_get("saga")?,
        instance: row.try_get("instance")?,
        standing: row.try_get("standing")?,
        ended: row.try_get("ended")?,
        steps: row.try_get("version")?,
        started_at: row.try_get::<Nearest, _>("started_at")?.0,
        updated_at: row.try_get::<Nearest, _>("updated_at")?.0,
        due_at: row.try_get::<Option<Nearest>, _>("due_at")?.map(|Nearest(due_at)| due_at),
        awaiting,
        stuck: row.try_get("stuck")?,
    })
}

/// Locks instances that ended before a time and still have steps, the oldest first: saga and instance; and the time that it has
/// reached.
///
/// # Errors
/// Database errors.
pub async fn lock_ended(
    connection: &mut PgConnection,
    Batch { before, from, most }: Batch,
) -> sqlx::Result<(Vec<(String, String)>, Option<DateTime<Utc>>)> {
    let ended = sqlx::query_as(LOCK_ENDED).bind(before).bind(from).bind(most).fetch_all(connection);
    let ended: Vec<(String, String, Nearest)> = ended.await?;
    let last = reached(ended.iter().map(|(.., at)| *at));
    Ok((ended.into_iter().map(|(saga, instance, _)| (saga, instance)).collect(), last))
}

/// Adds to instances the hashes of the inputs of removed steps.
///
/// # Errors
/// Database errors.
pub async fn steps_gone(
    connection: &mut PgConnection,
    instances: &[(String, String)],
    gone: &[Gone],
) -> sqlx::Result<()> {
    let steps = sqlx::query(STEPS_GONE);
    let steps = bind_columns!(steps, instances, (saga, instance) => saga.as_str(), instance.as_str());
    let steps =
        bind_columns!(steps, gone, (saga, instance, input) => saga.as_str(), instance.as_str(), *input);
    steps.execute(connection).await.map(|_| ())
}
