//! Which generations of each view there are.

use chrono::{DateTime, Utc};
use millrace_store::replay::{self, Shape};
use millrace_store::timestamp::Nearest;
use serde::Serialize;
use sqlx::PgExecutor;

use super::compare::Comparison;
use crate::failure::Failure;
use crate::postgres::Database;

/// What a generation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It reads from the beginning; readers do not see it.
    Building,
    /// Readers see it. Each view has exactly one such generation.
    Serving,
    /// It served before and goes on, so that a rollback is a swap back.
    Following,
    /// It is being removed, or was.
    Retired,
}

impl State {
    /// As the table has it.
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
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Generation {
    /// The view's name.
    pub view: String,
    /// Its number, from 1.
    pub generation: i32,
    /// What it does.
    pub state: State,
    /// `operator`, `reset`, `release`, or `setup` of the first.
    pub asked_by: String,
    /// Why it was built.
    pub reason: String,
    /// Whether it serves even when the comparison finds differences.
    pub accept_differences: bool,
    /// What the last comparison with the serving generation found.
    pub comparison: Option<Comparison>,
    /// When its build began.
    pub started_at: DateTime<Utc>,
    /// When it began to serve, the last time.
    pub swapped_at: Option<DateTime<Utc>>,
    /// What it is like, as the build that began it says; `None`: not known, as of one that a build before shapes has set up.
    pub shape: Option<String>,
    /// The release of that build.
    pub release: Option<i32>,
}

impl Generation {
    /// Whether a build that has this shape has begun it.
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
    /// Asks for a view's.
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

    /// The number of the one that readers see.
    ///
    /// # Errors
    /// [`Failure::Refused`] when setup did not run yet.
    pub fn serving(&self) -> Result<i32, Failure> {
        let none = || Failure::refused("the view has no generation: run `millrace setup` first");
        self.first(State::Serving).map(|generation| generation.generation).ok_or_else(none)
    }

    /// Whether the same build could have begun both.
    pub fn are_of_one_shape(&self, one: i32, other: i32) -> bool {
        let shape = |number| self.0.iter().find(|one| one.generation == number)?.shape.as_ref();
        shape(one) == shape(other)
    }

    /// The one that is being built.
    pub fn building(&self) -> Option<&Generation> {
        self.first(State::Building)
    }

    /// The one that served before.
    pub fn previous(&self) -> Option<&Generation> {
        let following = self.0.iter().filter(|generation| generation.state == State::Following);
        following.max_by_key(|generation| (generation.swapped_at, generation.generation))
    }
}
