//! The table `replay`: which generations of each view there are.

use chrono::{DateTime, Utc};
use millrace_store::timestamp::Nearest;
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};

use super::compare::Comparison;
use crate::failure::Failure;
use crate::postgres::Database;

/// What a generation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It reads from the beginning; nobody sees it.
    Building,
    /// Readers see it. Each view has exactly one such generation.
    Serving,
    /// It served before and goes on, so that a rollback is a swap back.
    Following,
    /// It is going away, or gone.
    Retired,
}

impl State {
    /// As the table has it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            State::Building => "building",
            State::Serving => "serving",
            State::Following => "following",
            State::Retired => "retired",
        }
    }

    fn of(text: &str) -> Self {
        match text {
            "building" => State::Building,
            "serving" => State::Serving,
            "following" => State::Following,
            _ => State::Retired,
        }
    }
}

/// One generation of a view.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Generation {
    pub(crate) view: String,
    pub(crate) generation: i32,
    pub(crate) state: State,
    pub(crate) asked_by: String,
    pub(crate) reason: String,
    pub(crate) accept_differences: bool,
    /// What the last comparison with the serving generation found.
    pub(crate) comparison: Option<Comparison>,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) swapped_at: Option<DateTime<Utc>>,
}

type Row = (String, i32, String, String, String, bool, Option<Json<Comparison>>, Nearest, Option<Nearest>);

fn generation(row: Row) -> Generation {
    let (view, generation, state, asked_by, reason, accept_differences, comparison, started_at, swapped_at) =
        row;
    let (state, comparison) = (State::of(&state), comparison.map(|json| json.0));
    Generation {
        view,
        generation,
        state,
        asked_by,
        reason,
        accept_differences,
        comparison,
        started_at: started_at.0,
        swapped_at: swapped_at.map(|Nearest(swapped_at)| swapped_at),
    }
}

/// Every generation that is not retired, by view.
pub(crate) async fn live(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<Generation>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT view, generation, state, asked_by, reason, accept_differences, comparison, started_at, swapped_at
         FROM replay WHERE state <> 'retired' ORDER BY view, generation",
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(generation).collect())
}

/// The live generations of one view.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Generations(pub(crate) Vec<Generation>);

impl Generations {
    /// Asks for a view's.
    ///
    /// # Errors
    /// [`Failure::Unreachable`]; [`Failure::Refused`] before `millrace setup`.
    pub(crate) async fn of(read: &Database, view: &str) -> Result<Self, Failure> {
        let live = live(&read.pool).await.map_err(|error| read.failure(error))?;
        Ok(Self(live.into_iter().filter(|generation| generation.view == view).collect()))
    }

    fn first(&self, state: State) -> Option<&Generation> {
        self.0.iter().find(|generation| generation.state == state)
    }

    /// The number of the one that readers see.
    ///
    /// # Errors
    /// [`Failure::Refused`] when setup did not run yet.
    pub(crate) fn serving(&self) -> Result<i32, Failure> {
        let none = || Failure::refused("the view has no generation: run `millrace setup` first");
        self.first(State::Serving).map(|generation| generation.generation).ok_or_else(none)
    }

    /// The one that is being built.
    pub(crate) fn building(&self) -> Option<&Generation> {
        self.first(State::Building)
    }

    /// The one that served before.
    pub(crate) fn previous(&self) -> Option<&Generation> {
        let following = self.0.iter().filter(|generation| generation.state == State::Following);
        following.max_by_key(|generation| (generation.swapped_at, generation.generation))
    }
}

/// The first generation of a view, when there is none; then the number of the serving one.
pub(crate) async fn first(connection: &mut PgConnection, view: &str) -> sqlx::Result<i32> {
    sqlx::query(
        "INSERT INTO replay (view, generation, state, asked_by, reason)
         SELECT $1, 1, 'serving', 'setup', 'the first generation' WHERE NOT EXISTS (SELECT FROM replay WHERE view = $1)",
    )
    .bind(view)
    .execute(&mut *connection)
    .await?;
    let serving = "SELECT generation FROM replay WHERE view = $1 AND state = 'serving'";
    sqlx::query_scalar(serving).bind(view).fetch_one(connection).await
}

/// The number of a view's next generation.
pub(super) async fn next(connection: &mut PgConnection, view: &str) -> sqlx::Result<i32> {
    let next = "SELECT max(generation) + 1 FROM replay WHERE view = $1";
    sqlx::query_scalar(next).bind(view).fetch_one(connection).await
}

/// Records a generation of a view as being built: from here on every `millrace run` works on it.
pub(super) async fn record(
    connection: &mut PgConnection,
    (view, generation): (&str, i32),
    asked_by: &str,
    reason: &str,
    accept_differences: bool,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO replay (view, generation, state, asked_by, reason, accept_differences)
         VALUES ($1, $2, 'building', $3, $4, $5)",
    )
    .bind(view)
    .bind(generation)
    .bind(asked_by)
    .bind(reason)
    .bind(accept_differences)
    .execute(connection)
    .await
    .map(|_| ())
}

/// Lets a build that was refused be compared again.
pub(super) async fn compare_again(
    executor: impl PgExecutor<'_>,
    view: &str,
    accept_differences: bool,
) -> sqlx::Result<()> {
    let again =
        "UPDATE replay SET comparison = NULL, accept_differences = $2 WHERE view = $1 AND state = 'building'";
    sqlx::query(again).bind(view).bind(accept_differences).execute(executor).await.map(|_| ())
}

/// Writes down what a comparison found.
pub(super) async fn compared(
    executor: impl PgExecutor<'_>,
    view: &str,
    comparison: &Comparison,
) -> sqlx::Result<()> {
    let found =
        "UPDATE replay SET comparison = $3 WHERE view = $1 AND generation = $2 AND state = 'building'";
    let found = sqlx::query(found).bind(view).bind(comparison.building).bind(Json(comparison));
    found.execute(executor).await.map(|_| ())
}

/// Makes a generation the serving one and lets the other follow; false when it is not there to take the place.
pub(super) async fn swap(connection: &mut PgConnection, view: &str, to: i32) -> sqlx::Result<bool> {
    sqlx::query("UPDATE replay SET state = 'following' WHERE view = $1 AND state = 'serving'")
        .bind(view)
        .execute(&mut *connection)
        .await?;
    let serve = "UPDATE replay SET state = 'serving', swapped_at = now()
                 WHERE view = $1 AND generation = $2 AND state IN ('building', 'following')";
    let served = sqlx::query(serve).bind(view).bind(to).execute(connection).await?;
    Ok(served.rows_affected() == 1)
}

/// Marks every generation that does not serve as retired, and returns those whose things are not removed yet.
pub(super) async fn retire(connection: &mut PgConnection, view: &str) -> sqlx::Result<Vec<i32>> {
    sqlx::query("UPDATE replay SET state = 'retired' WHERE view = $1 AND state IN ('building', 'following')")
        .bind(view)
        .execute(&mut *connection)
        .await?;
    let left = "SELECT generation FROM replay WHERE view = $1 AND state = 'retired' AND removed_at IS NULL ORDER BY 1";
    sqlx::query_scalar(left).bind(view).fetch_all(connection).await
}
