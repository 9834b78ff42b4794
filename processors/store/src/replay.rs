//! The table `replay`: the generations of each view.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};

use crate::statements::statements;
use crate::timestamp::Nearest;

statements! {
    LIVE = "SELECT view, generation, state, asked_by, reason, accept_differences, comparison, started_at, swapped_at,
                shape, release
         FROM replay WHERE state <> 'retired' ORDER BY view, generation";
    FIRST = "INSERT INTO replay (view, generation, state, asked_by, reason, shape, release)
         SELECT $1, 1, 'serving', 'setup', 'the first generation', $2::text, $3::int WHERE NOT EXISTS (SELECT FROM replay WHERE view = $1)";
    SHAPED = "UPDATE replay SET shape = $3, release = $4 WHERE view = $1 AND generation = $2 AND shape IS NULL";
    EVERY = "SELECT generation, state, shape, release FROM replay WHERE view = $1 ORDER BY generation";
    NEXT = "SELECT max(generation) + 1 FROM replay WHERE view = $1";
    INSERT = "INSERT INTO replay (view, generation, state, asked_by, reason, accept_differences, shape, release)
         VALUES ($1, $2, 'building', $3, $4, $5, $6, $7)";
    COMPARE_AGAIN = "UPDATE replay SET comparison = NULL, accept_differences = $2 WHERE view = $1 AND state = 'building'";
    COMPARED = "UPDATE replay SET comparison = $3 WHERE view = $1 AND generation = $2 AND state = 'building'";
    FOLLOW = "UPDATE replay SET state = 'following' WHERE view = $1 AND state = 'serving'";
    SERVE = "UPDATE replay SET state = 'serving', swapped_at = now()
                 WHERE view = $1 AND generation = $2 AND state IN ('building', 'following')";
    RETIRE = "UPDATE replay SET state = 'retired' WHERE view = $1 AND state IN ('building', 'following')";
    /// Forgets the shape, so that the rebuild is started again automatically.
    GIVE_UP = "UPDATE replay SET state = 'retired', shape = NULL, reason = reason || '; ' || $3
                 WHERE view = $1 AND generation = $2 AND state = 'building'";
    TO_REMOVE = "SELECT view, generation FROM replay WHERE state = 'retired' AND removed_at IS NULL ORDER BY 1, 2";
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
    /// `setup`, `operator`, `reset` or `release`.
    pub asked_by: String,
    /// Why.
    pub reason: String,
    /// Whether it is swapped even when the comparison finds differences.
    pub accept_differences: bool,
    /// The result of the last comparison with the serving generation.
    pub comparison: Option<C>,
    /// When it was begun.
    pub started_at: Nearest,
    /// When it began to serve.
    pub swapped_at: Option<Nearest>,
    /// The fingerprint of its shape; `None` when it is not known.
    pub shape: Option<String>,
    /// The release of the build that started it.
    pub release: Option<i32>,
}

/// The shape of a view in a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The fingerprint of table, SQL views, mapping and fold.
    pub fingerprint: String,
    /// The number of the release.
    pub release: i32,
}

/// A generation of a view, retired or not, with its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its number.
    pub generation: i32,
    /// As of [`Generation::state`].
    pub state: String,
    /// As of [`Generation::shape`].
    pub shape: Option<String>,
    /// As of [`Generation::release`].
    pub release: Option<i32>,
}

type Row<C> = (
    String,
    i32,
    String,
    String,
    String,
    bool,
    Option<Json<C>>,
    Nearest,
    Option<Nearest>,
    Option<String>,
    Option<i32>,
);

fn generation<C>(row: Row<C>) -> Generation<C> {
    let (view, generation, state, asked_by, reason, accept_differences, comparison, ..) = row;
    let (.., started_at, swapped_at, shape, release) = row;
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
        shape,
        release,
    }
}

/// Every generation that is not retired, by view.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn live<C: DeserializeOwned + Send + Unpin + 'static>(
    executor: impl PgExecutor<'_>,
) -> sqlx::Result<Vec<Generation<C>>> {
    let rows: Vec<Row<C>> = sqlx::query_as(LIVE).fetch_all(executor).await?;
    Ok(rows.into_iter().map(generation).collect())
}

/// Writes the first generation of a view if it has none; false otherwise.
///
/// # Errors
/// Database errors.
pub async fn first(connection: &mut PgConnection, view: &str, shape: &Shape) -> sqlx::Result<bool> {
    let first = sqlx::query(FIRST).bind(view).bind(&shape.fingerprint).bind(shape.release);
    first.execute(connection).await.map(|done| done.rows_affected() == 1)
}

/// Sets the shape of a generation whose shape was not known.
///
/// # Errors
/// Database errors.
pub async fn shaped(
    connection: &mut PgConnection,
    (view, generation): (&str, i32),
    shape: &Shape,
) -> sqlx::Result<()> {
    let shaped = sqlx::query(SHAPED).bind(view).bind(generation).bind(&shape.fingerprint);
    shaped.bind(shape.release).execute(connection).await.map(|_| ())
}

/// Every generation of a view, retired ones too, the oldest first.
///
/// # Errors
/// Database errors.
pub async fn every(executor: impl PgExecutor<'_>, view: &str) -> sqlx::Result<Vec<Known>> {
    let rows: Vec<(i32, String, Option<String>, Option<i32>)> =
        sqlx::query_as(EVERY).bind(view).fetch_all(executor).await?;
    let known = |(generation, state, shape, release)| Known { generation, state, shape, release };
    Ok(rows.into_iter().map(known).collect())
}

/// The number of a view's next generation.
///
/// # Errors
/// Database errors.
pub async fn next(connection: &mut PgConnection, view: &str) -> sqlx::Result<i32> {
    sqlx::query_scalar(NEXT).bind(view).fetch_one(connection).await
}

/// Writes a generation of a view that is being built.
///
/// # Errors
/// Database errors.
pub async fn insert(
    connection: &mut PgConnection,
    (view, generation): (&str, i32),
    asked_by: &str,
    reason: &str,
    accept_differences: bool,
    shape: &Shape,
) -> sqlx::Result<()> {
    let insert = sqlx::query(INSERT).bind(view).bind(generation).bind(asked_by).bind(reason);
    let insert = insert.bind(accept_differences).bind(&shape.fingerprint).bind(shape.release);
    insert.execute(connection).await.map(|_| ())
}

/// Removes the comparison of the building generation.
///
/// # Errors
/// Database errors.
pub async fn compare_again(
    executor: impl PgExecutor<'_>,
    view: &str,
    accept_differences: bool,
) -> sqlx::Result<()> {
    sqlx::query(COMPARE_AGAIN).bind(view).bind(accept_differences).execute(executor).await.map(|_| ())
}

/// Stores the result of a comparison of the building generation.
///
/// # Errors
/// Database errors.
pub async fn compared<C: Serialize + Sync>(
    executor: impl PgExecutor<'_>,
    (view, generation): (&str, i32),
    comparison: &C,
) -> sqlx::Result<()> {
    let compared = sqlx::query(COMPARED).bind(view).bind(generation).bind(Json(comparison));
    compared.execute(executor).await.map(|_| ())
}

/// Makes a generation the serving one, and the former serving one following; false when it is neither building nor following.
///
/// # Errors
/// Database errors.
pub async fn swap(connection: &mut PgConnection, view: &str, to: i32) -> sqlx::Result<bool> {
    sqlx::query(FOLLOW).bind(view).execute(&mut *connection).await?;
    let served = sqlx::query(SERVE).bind(view).bind(to).execute(connection).await?;
    Ok(served.rows_affected() == 1)
}

/// Marks every generation that does not serve as retired, and returns those whose table, index and groups are not removed yet.
///
/// # Errors
/// Database errors.
pub async fn retire(connection: &mut PgConnection, view: &str) -> sqlx::Result<Vec<i32>> {
    sqlx::query(RETIRE).bind(view).execute(&mut *connection).await?;
    sqlx::query_scalar(NOT_REMOVED).bind(view).fetch_all(connection).await
}

/// Marks a building generation as retired, with the reason; false when it is no longer building.
///
/// # Errors
/// Database errors.
pub async fn give_up(
    connection: &mut PgConnection,
    (view, generation): (&str, i32),
    why: &str,
) -> sqlx::Result<bool> {
    let given_up = sqlx::query(GIVE_UP).bind(view).bind(generation).bind(why).execute(connection).await?;
    Ok(given_up.rows_affected() == 1)
}

/// View and number of every retired generation whose table, index and groups are not removed yet.
///
/// # Errors
/// Database errors.
pub async fn to_remove(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<(String, i32)>> {
    sqlx::query_as(TO_REMOVE).fetch_all(executor).await
}

/// Records that table, index and groups of a generation are removed.
///
/// # Errors
/// Database errors.
pub async fn removed(connection: &mut PgConnection, view: &str, generation: i32) -> sqlx::Result<()> {
    sqlx::query(REMOVED).bind(view).bind(generation).execute(connection).await.map(|_| ())
}

/// Whether the table exists.
///
/// # Errors
/// Database errors.
pub async fn is_there(executor: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar(IS_THERE).fetch_one(executor).await
}

/// View and number of every generation of the views that have had more than one.
///
/// # Errors
/// Database errors.
pub async fn of_replayed(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<(String, i32)>> {
    sqlx::query_as(OF_REPLAYED).fetch_all(executor).await
}
