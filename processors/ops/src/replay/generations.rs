//! The generations of each view.

use chrono::{DateTime, Utc};
use millrace_store::replay::{self, Shape};
use millrace_store::timestamp::Nearest;
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::PgExecutor;

use super::compare::Comparison;
use crate::failure::Failure;
use crate::postgres::Database;

/// The state of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "GenerationState")]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It reads from the beginning, and readers do not see it.
    Building,
    /// Readers see it. Each view has exactly one such generation.
    Serving,
    /// It served before and still applies events, so that a rollback is a swap back.
    Following,
    /// It is being removed, or was.
    Retired,
}

impl State {
    /// The text in the table.
    pub fn as_str(self) -> &'static str {
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
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Generation {
    /// The view's name.
    pub view: String,
    /// Its number, from 1.
    pub generation: i32,
    /// Its state.
    pub state: State,
    /// `operator`, `reset`, `release`; `setup` for the first.
    pub asked_by: String,
    /// Why it was built.
    pub reason: String,
    /// Whether it is swapped even when the comparison finds differences.
    pub accept_differences: bool,
    /// The result of the last comparison with the serving generation.
    pub comparison: Option<Comparison>,
    /// When its build began.
    pub started_at: DateTime<Utc>,
    /// When it began to serve, the last time.
    pub swapped_at: Option<DateTime<Utc>>,
    /// Its shape, from the build that began it; `None` for one that a build without shapes has set up.
    pub shape: Option<String>,
    /// The release of that build.
    pub release: Option<i32>,
}

impl Generation {
    /// Whether it has this shape.
    pub fn is_of(&self, shape: &Shape) -> bool {
        self.shape.as_ref() == Some(&shape.fingerprint)
    }
}

impl From<replay::Generation<Comparison>> for Generation {
    fn from(row: replay::Generation<Comparison>) -> Self {
        let replay::Generation { view, generation, state, asked_by, reason, accept_differences, .. } = row;
        Self {
            view,
            generation,
            state: State::of(&state),
            asked_by,
            reason,
            accept_differences,
            comparison: row.comparison,
            started_at: row.started_at.0,
            swapped_at: row.swapped_at.map(|Nearest(swapped_at)| swapped_at),
            shape: row.shape,
            release: row.release,
        }
    }
}

/// Every generation that is not retired, by view.
pub async fn live(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<Generation>> {
    Ok(replay::live(executor).await?.into_iter().map(Generation::from).collect())
}

/// The live generations of one view.
#[derive(Debug, Clone, PartialEq)]
pub struct Generations(pub Vec<Generation>);

impl Generations {
    /// Reads the live generations of a view.
    ///
    /// # Errors
    /// [`Failure::Unreachable`]; [`Failure::Refused`] before `millrace setup`.
    pub async fn of(read: &Database, view: &str) -> Result<Self, Failure> {
        let live = live(&read.pool).await.map_err(|error| read.failure(error))?;
        Ok(Self(live.into_iter().filter(|generation| generation.view == view).collect()))
    }

    fn first(&self, state: State) -> Option<&Generation> {
        self.0.iter().find(|generation| generation.state == state)
    }

    /// The number of the serving generation.
    ///
    /// # Errors
    /// [`Failure::Refused`] when setup did not run yet.
    pub fn serving(&self) -> Result<i32, Failure> {
        let none = || Failure::refused("the view has no generation: run `millrace setup` first");
        self.first(State::Serving).map(|generation| generation.generation).ok_or_else(none)
    }

    /// Whether both have the same shape.
    pub fn are_of_one_shape(&self, one: i32, other: i32) -> bool {
        let shape = |number| self.0.iter().find(|one| one.generation == number)?.shape.as_ref();
        shape(one) == shape(other)
    }

    /// The building generation.
    pub fn building(&self) -> Option<&Generation> {
        self.first(State::Building)
    }

    /// The generation that served before.
    pub fn previous(&self) -> Option<&Generation> {
        let following = self.0.iter().filter(|generation| generation.state == State::Following);
        following.max_by_key(|generation| (generation.swapped_at, generation.generation))
    }
}
