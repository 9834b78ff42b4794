//! The table `audit`: the changes of operators, and why they were made.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};

use crate::prune::{Aged, Batch};
use crate::statements::statements;
use crate::timestamp::Nearest;

statements! {
    INSERT = "INSERT INTO audit (who, action, subject, why, details) VALUES ($1, $2, $3, $4, $5)";
    PRUNABLE = "SELECT count(*), min(at) FROM audit WHERE at < $1";
    PRUNE = "DELETE FROM audit WHERE ctid = ANY (ARRAY(
             SELECT ctid FROM audit WHERE at < $1 AND at >= coalesce($2::timestamptz, '-infinity')
             ORDER BY at LIMIT $3 FOR UPDATE SKIP LOCKED))
         RETURNING at";
    NEWEST = "SELECT at, who, action, subject, why, details FROM audit
         WHERE ($1::text IS NULL OR action = $1) AND ($2::text[] IS NULL OR subject = ANY($2))
           AND ($3::timestamptz IS NULL OR at >= $3) ORDER BY at DESC, id DESC LIMIT $4";
    ACTIONS = "SELECT DISTINCT action FROM audit";
}

/// An action, to be written in the transaction that does it.
#[derive(Debug, Clone, Copy)]
pub struct Action<'a> {
    /// Who does it.
    pub who: &'a str,
    /// What is done.
    pub action: &'a str,
    /// The thing that is changed.
    pub subject: &'a str,
    /// Why.
    pub why: &'a str,
    /// Further details.
    pub details: &'a Value,
}

/// Records an action.
///
/// # Errors
/// Database errors.
pub async fn insert(connection: &mut PgConnection, action: &Action<'_>) -> sqlx::Result<()> {
    let Action { who, action, subject, why, details } = action;
    let insert = sqlx::query(INSERT).bind(who).bind(action).bind(subject).bind(why).bind(Json(details));
    insert.execute(connection).await.map(|_| ())
}

/// When, who, what, to what, why, and details.
pub type Done = (Nearest, String, String, String, String, Json<Value>);

/// The newest actions, optionally only of a kind, on some subjects, or since a time.
///
/// # Errors
/// Database errors.
pub async fn newest(
    executor: impl PgExecutor<'_>,
    (action, subjects): (Option<&str>, Option<&[String]>),
    since: Option<DateTime<Utc>>,
    limit: i64,
) -> sqlx::Result<Vec<Done>> {
    let newest = sqlx::query_as(NEWEST).bind(action).bind(subjects).bind(since).bind(limit);
    newest.fetch_all(executor).await
}

/// All kinds of actions in the table.
///
/// # Errors
/// Database errors.
pub async fn actions(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(ACTIONS).fetch_all(executor).await
}

/// The number and age of the actions that retention would remove.
///
/// # Errors
/// Database errors.
pub async fn prunable(executor: impl PgExecutor<'_>, before: DateTime<Utc>) -> sqlx::Result<Aged> {
    sqlx::query_as(PRUNABLE).bind(before).fetch_one(executor).await.map(Aged::of)
}

/// Removes a batch of them, the oldest first; returns how many, and the time that it has reached.
///
/// # Errors
/// Database errors.
pub async fn prune(
    connection: &mut PgConnection,
    batch: Batch,
) -> sqlx::Result<(usize, Option<DateTime<Utc>>)> {
    crate::prune::remove(connection, PRUNE, batch).await
}
