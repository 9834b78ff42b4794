//! The table `replay`: which generations of each view there are.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};

use crate::statements::statements;
use crate::timestamp::Nearest;

statements! {
    LIVE = "SELECT view, generation, state, asked_by, reason, accept_differences, comparison, started_at, swapped_at
         FROM replay WHERE state <> 'retired' ORDER BY view, generation";
    FIRST = "INSERT INTO replay (view, generation, state, asked_by, reason)
         SELECT $1, 1, 'serving', 'setup', 'the first generation' WHERE NOT EXISTS (SELECT FROM replay WHERE view = $1)";
    SERVING = "SELECT generation FROM replay WHERE view = $1 AND state = 'serving'";
    NEXT = "SELECT max(generation) + 1 FROM replay WHERE view = $1";
    INSERT = "INSERT INTO replay (view, generation, state, asked_by, reason, accept_differences)
         VALUES ($1, $2, 'building', $3, $4, $5)";
    COMPARE_AGAIN = "UPDATE replay SET comparison = NULL, accept_differences = $2 WHERE view = $1 AND state = 'building'";
    COMPARED = "UPDATE replay SET comparison = $3 WHERE view = $1 AND generation = $2 AND state = 'building'";
    FOLLOW = "UPDATE replay SET state = 'following' WHERE view = $1 AND state = 'serving'";
    SERVE = "UPDATE replay SET state = 'serving', swapped_at = now()
                 WHERE view = $1 AND generation = $2 AND state IN ('building', 'following')";
    RETIRE = "UPDATE replay SET state = 'retired' WHERE view = $1 AND state IN ('building', 'following')";
    NOT_REMOVED = "SELECT generation FROM replay WHERE view = $1 AND state = 'retired' AND removed_at IS NULL ORDER BY 1";
    REMOVED = "UPDATE replay SET removed_at = now() WHERE view = $1 AND generation = $2";
    IS_THERE = "SELECT to_regclass('replay') IS NOT NULL";
    OF_REPLAYED = "SELECT view, generation FROM replay AS r
                    WHERE EXISTS (SELECT FROM replay WHERE view = r.view AND generation > 1) ORDER BY 1, 2";
}

/// A generation of a view; the comparison is of any type that is JSON.
#[derive(Debug, Clone)]
pub struct Generation<C> {
    /// The view.
    pub view: String,
    /// Its number.
    pub generation: i32,
    /// `building`, `serving`, `following` or `retired`.
    pub state: String,
    /// `setup`, `operator` or `reset`.
    pub asked_by: String,
    /// Why.
    pub reason: String,
    /// Whether it takes its place even when the comparison finds differences.
    pub accept_differences: bool,
    /// What the last comparison with the serving generation found.
    pub comparison: Option<C>,
    /// When it was begun.
    pub started_at: Nearest,
    /// When it began to serve.
    pub swapped_at: Option<Nearest>,
}

type Row<C> = (String, i32, String, String, String, bool, Option<Json<C>>, Nearest, Option<Nearest>);

fn generation<C>(row: Row<C>) -> Generation<C> {
    let (view, generation, state, asked_by, reason, accept_differences, comparison, started_at, swapped_at) =
        row;
    let comparison = comparison.map(|Json(comparison)| comparison);
    Generation {
        view,
        generation,
        state,
        asked_by,
        reason,
        accept_differences,
        comparison,
        started_at,
        swapped_at,
    }
}

/// Every generation that is not retired, by view.
///
/// # Errors
/// The database's, as of every function here.
pub async fn live<C: DeserializeOwned + Send + Unpin + 'static>(
    executor: impl PgExecutor<'_>,
) -> sqlx::Result<Vec<Generation<C>>> {
    let rows: Vec<Row<C>> = sqlx::query_as(LIVE).fetch_all(executor).await?;
    Ok(rows.into_iter().map(generation).collect())
}

/// Writes the first generation of a view, when there is none; then tells the number of the serving one.
///
/// # Errors
/// The database's.
pub async fn first(connection: &mut PgConnection, view: &str) -> sqlx::Result<i32> {
    sqlx::query(FIRST).bind(view).execute(&mut *connection).await?;
    sqlx::query_scalar(SERVING).bind(view).fetch_one(connection).await
}

/// The number of a view's next generation.
///
/// # Errors
/// The database's.
pub async fn next(connection: &mut PgConnection, view: &str) -> sqlx::Result<i32> {
    sqlx::query_scalar(NEXT).bind(view).fetch_one(connection).await
}

/// Writes a generation of a view that is being built.
///
/// # Errors
/// The database's.
pub async fn insert(
    connection: &mut PgConnection,
    (view, generation): (&str, i32),
    asked_by: &str,
    reason: &str,
    accept_differences: bool,
) -> sqlx::Result<()> {
    let insert = sqlx::query(INSERT).bind(view).bind(generation).bind(asked_by).bind(reason);
    insert.bind(accept_differences).execute(connection).await.map(|_| ())
}

/// Forgets the comparison of the generation that is being built.
///
/// # Errors
/// The database's.
pub async fn compare_again(
    executor: impl PgExecutor<'_>,
    view: &str,
    accept_differences: bool,
) -> sqlx::Result<()> {
    sqlx::query(COMPARE_AGAIN).bind(view).bind(accept_differences).execute(executor).await.map(|_| ())
}

/// Writes down what a comparison of the generation that is being built has found.
///
/// # Errors
/// The database's.
pub async fn compared<C: Serialize + Sync>(
    executor: impl PgExecutor<'_>,
    (view, generation): (&str, i32),
    comparison: &C,
) -> sqlx::Result<()> {
    let compared = sqlx::query(COMPARED).bind(view).bind(generation).bind(Json(comparison));
    compared.execute(executor).await.map(|_| ())
}

/// Makes a generation the serving one and lets the other follow; false when it is not there to take the place.
///
/// # Errors
/// The database's.
pub async fn swap(connection: &mut PgConnection, view: &str, to: i32) -> sqlx::Result<bool> {
    sqlx::query(FOLLOW).bind(view).execute(&mut *connection).await?;
    let served = sqlx::query(SERVE).bind(view).bind(to).execute(connection).await?;
    Ok(served.rows_affected() == 1)
}

/// Marks every generation that does not serve as retired, and returns those whose things are not removed yet.
///
/// # Errors
/// The database's.
pub async fn retire(connection: &mut PgConnection, view: &str) -> sqlx::Result<Vec<i32>> {
    sqlx::query(RETIRE).bind(view).execute(&mut *connection).await?;
    sqlx::query_scalar(NOT_REMOVED).bind(view).fetch_all(connection).await
}

/// The things of a generation are removed.
///
/// # Errors
/// The database's.
pub async fn removed(connection: &mut PgConnection, view: &str, generation: i32) -> sqlx::Result<()> {
    sqlx::query(REMOVED).bind(view).bind(generation).execute(connection).await.map(|_| ())
}

/// Whether there is such a table.
///
/// # Errors
/// The database's.
pub async fn is_there(executor: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar(IS_THERE).fetch_one(executor).await
}

/// View and number of every generation of the views that have had more than one.
///
/// # Errors
/// The database's.
pub async fn of_replayed(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<(String, i32)>> {
    sqlx::query_as(OF_REPLAYED).fetch_all(executor).await
}
