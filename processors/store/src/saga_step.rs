//! The table `saga_step`: the inputs of each instance, in order, and the commands that followed.

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::columns::bind_columns;
use crate::prune::Aged;
use crate::statements::statements;
use crate::timestamp::Nearest;

/// A number that identifies an input after its step was removed: the first eight bytes of a hash of its id.
macro_rules! print {
    ($input_id:literal) => {
        concat!(
            "('x' || left(encode(sha256(convert_to(",
            $input_id,
            ", 'UTF8')), 'hex'), 16))::bit(64)::bigint"
        )
    };
}

statements! {
    KNOWN = concat!("SELECT instance, input_id FROM saga_step
         WHERE saga = $1 AND (instance, input_id) IN (SELECT * FROM UNNEST($2::text[], $3::text[]))
         UNION ALL
         SELECT r.instance, r.input_id FROM UNNEST($2::text[], $3::text[]) AS r(instance, input_id)
         JOIN saga AS s ON s.saga = $1 AND s.instance = r.instance
         WHERE s.answered IS NOT NULL AND ", print!("r.input_id"), " = ANY (s.answered)");
    PRUNABLE = "SELECT count(*), min(t.at) FROM saga AS s JOIN saga_step AS t USING (saga, instance)
         WHERE s.ended AND s.has_steps AND s.started_at < $1 AND s.updated_at < $1";
    PRUNE = concat!("DELETE FROM saga_step AS t USING UNNEST($1::text[], $2::text[]) AS r(saga, instance)
         WHERE t.saga = r.saga AND t.instance = r.instance
         RETURNING t.saga, t.instance, ", print!("t.input_id"));
    INSERT = "INSERT INTO saga_step (saga, instance, input_id, number, input, standing, sent)
         SELECT $1, * FROM UNNEST($2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::json[])";
    OF_INSTANCES = "SELECT saga, instance, input_id, number, at, input, standing, sent FROM saga_step
         WHERE saga = ANY($1) AND instance = ANY($2) ORDER BY saga, instance, number LIMIT $3";
    OF_INSTANCE = "SELECT number, at, input, standing, sent FROM saga_step WHERE saga = $1 AND instance = $2 ORDER BY number";
}

/// Those of some inputs (instance, id) that were received before, also if their steps were removed.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn known(
    connection: &mut PgConnection,
    saga: &str,
    inputs: &[(&str, &str)],
) -> sqlx::Result<Vec<(String, String)>> {
    if inputs.is_empty() {
        return Ok(Vec::new());
    }
    bind_columns!(sqlx::query_as(KNOWN).bind(saga), inputs, (instance, id) => *instance, *id)
        .fetch_all(connection)
        .await
}

/// A step that was taken.
#[derive(Debug, Clone, Copy)]
pub struct New<'s> {
    /// The instance.
    pub instance: &'s str,
    /// The id of its input.
    pub input_id: &'s str,
    /// The number of the step.
    pub number: i64,
    /// Its input, for people.
    pub input: &'s str,
    /// The standing of the instance after it.
    pub standing: &'s str,
    /// The commands that it sent: id and full name.
    pub sent: &'s [(Uuid, &'static str)],
}

/// Writes steps.
///
/// # Errors
/// Database errors.
pub async fn insert(connection: &mut PgConnection, saga: &str, steps: &[New<'_>]) -> sqlx::Result<()> {
    bind_columns!(sqlx::query(INSERT).bind(saga), steps, step =>
        step.instance, step.input_id, step.number, step.input, step.standing, Json(step.sent)
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// A step: number, time, input, standing after it, the commands that it sent (id and type).
pub type Step = (i64, Nearest, String, String, Json<Vec<(String, String)>>);

/// The steps of an instance.
///
/// # Errors
/// Database errors.
pub async fn of_instance(
    executor: impl PgExecutor<'_>,
    saga: &str,
    instance: &str,
) -> sqlx::Result<Vec<Step>> {
    sqlx::query_as(OF_INSTANCE).bind(saga).bind(instance).fetch_all(executor).await
}

/// A step of one of several instances.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The saga.
    pub saga: String,
    /// The instance.
    pub instance: String,
    /// The id of the event, rejection or timer.
    pub input_id: String,
    /// Its number, from 1.
    pub number: i64,
    /// When it was taken.
    pub at: DateTime<Utc>,
    /// The input, for people.
    pub input: String,
    /// The standing of the instance after it.
    pub standing: String,
    /// The commands that it sent, id and type.
    pub sent: Vec<(String, String)>,
}

type TakenRow = (String, String, String, i64, Nearest, String, String, Json<Vec<(String, String)>>);

/// The steps of instances of these names of some sagas, in order, at most `most`.
///
/// # Errors
/// Database errors.
pub async fn of_instances(
    executor: impl PgExecutor<'_>,
    (sagas, instances): (&[&str], &[&str]),
    most: i64,
) -> sqlx::Result<Vec<Taken>> {
    let steps = sqlx::query_as(OF_INSTANCES).bind(sagas).bind(instances).bind(most);
    Ok(steps.fetch_all(executor).await?.into_iter().map(taken).collect())
}

fn taken((saga, instance, input_id, number, at, input, standing, sent): TakenRow) -> Taken {
    Taken { saga, instance, input_id, number, at: at.0, input, standing, sent: sent.0 }
}

/// The number and age of the steps that retention would remove, of ended instances.
///
/// # Errors
/// Database errors.
pub async fn prunable(executor: impl PgExecutor<'_>, before: DateTime<Utc>) -> sqlx::Result<Aged> {
    sqlx::query_as(PRUNABLE).bind(before).fetch_one(executor).await.map(Aged::of)
}

/// A removed step: saga, instance, and the number that identifies its input.
pub type Gone = (String, String, i64);

/// Removes the steps of instances, which are [locked](crate::saga::lock_ended).
///
/// # Errors
/// Database errors.
pub async fn prune(connection: &mut PgConnection, instances: &[(String, String)]) -> sqlx::Result<Vec<Gone>> {
    bind_columns!(sqlx::query_as(PRUNE), instances, (saga, instance) => saga.as_str(), instance.as_str())
        .fetch_all(connection)
        .await
}
