//! An instance of a saga with its history and its timers.

use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_store::parked::Waiting;
use millrace_store::saga::{self, Filter};
use millrace_store::saga_step;
use millrace_store::saga_timer;
use millrace_store::{command, effect};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use serde_with::serde_as;

use super::id::Id;
use super::instance::{Instance, find};
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;
use crate::moment::Written;
use crate::postgres::Database;
use crate::receipts;

/// An instance that has taken no step for this long is shown as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(15 * 60);
/// A conversation may have many.
const CALLS_MAX: i64 = 20;

/// An instance with its history, timers and state.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SagaShown")]
pub struct Shown {
    /// The instance.
    #[serde(flatten)]
    pub instance: Instance,
    /// Its steps, in order.
    pub history: Vec<Step>,
    /// Its timers.
    pub timers: Vec<Timer>,
    /// Calls to external systems in its conversation (correlation id) that have not ended, twenty at the most.
    pub calls: Vec<Call>,
    /// Its state as JSON.
    pub state: Value,
}

/// A step of an instance.
#[serde_as]
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SagaStep")]
pub struct Step {
    /// Its number, from 1.
    #[serde(rename = "step")]
    pub number: i64,
    /// When it was taken.
    #[serde_as(as = "Written")]
    #[schemars(with = "Written")]
    pub at: DateTime<Utc>,
    /// The event, rejection or timer that the instance reacted to.
    pub input: String,
    /// The standing of the instance after it.
    pub standing: String,
    /// The commands that it sent.
    pub sent: Vec<Sent>,
}

/// A command of an instance.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SagaCommand")]
pub struct Sent {
    /// Its `ce_id`.
    pub id: String,
    /// The full name of its type.
    #[serde(rename = "type")]
    pub type_: String,
    /// Its outcome, for people.
    pub became: String,
}

/// A timer of an instance.
#[serde_as]
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SagaTimer")]
pub struct Timer {
    /// Its name.
    #[serde(rename = "timer")]
    pub name: String,
    /// When it was set.
    #[serde_as(as = "Written")]
    #[schemars(with = "Written")]
    pub set_at: DateTime<Utc>,
    /// When it is due.
    #[serde_as(as = "Written")]
    #[schemars(with = "Written")]
    pub due_at: DateTime<Utc>,
    /// The number of failed attempts.
    pub failed_tries: i32,
    /// The last error.
    pub error: Option<String>,
}

/// A call to an external system.
#[serde_as]
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EffectCall")]
pub struct Call {
    /// The effect that makes it.
    pub effect: String,
    /// The key by which the external system knows it.
    pub key: String,
    /// `waiting` for its next attempt, or `calling`.
    pub status: String,
    /// The number of attempts.
    pub attempts: i32,
    /// Whether it was made and its outcome is not known.
    pub unknown: bool,
    /// When it is tried next, or its lease ends.
    #[serde_as(as = "Written")]
    #[schemars(with = "Written")]
    pub due_at: DateTime<Utc>,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// An instance with its history.
///
/// # Errors
/// [`Failure::NotFound`] when there is no such instance; when the database does not answer.
pub async fn show(config: &Config, id: &Id) -> Result<Shown, Failure> {
    let write = Database::of(config, Side::Write)?;
    let shown = look(config, &write, id).await.map_err(|error| write.failure(error))?;
    shown.ok_or_else(|| Failure::NotFound(format!("there is no instance {id}")))
}

async fn look(config: &Config, write: &Database, id: &Id) -> sqlx::Result<Option<Shown>> {
    let (saga, instance) = (id.saga.as_str(), id.instance.as_str());
    let filter = Filter {
        saga: Some(saga),
        instance: Some(instance),
        ended: true,
        stuck_after: STUCK_AFTER,
        limit: 1,
        ..Filter::default()
    };
    let Some(found) = find(config, &write.pool, &filter).await?.into_iter().next() else { return Ok(None) };
    let (state, correlation_id) = saga::state(&write.pool, saga, instance).await?;
    let calls = match correlation_id {
        Some(id) => effect::open(&write.pool, &id, CALLS_MAX).await?,
        None => Vec::new(),
    };
    let steps = saga_step::of_instance(&write.pool, saga, instance).await?;
    let timers = saga_timer::of_instance(&write.pool, saga, instance).await?;
    let outcomes = Outcomes::of(config, write, &steps).await?;
    let history = steps.into_iter().map(|step| outcomes.step(step)).collect();
    let timers = timers.into_iter().map(Timer::from).collect();
    let calls = calls.into_iter().map(Call::from).collect();
    Ok(Some(Shown { instance: found, history, timers, calls, state }))
}

/// The outcomes of an instance's commands.
struct Outcomes {
    /// Decided commands: id, status, code.
    decided: Vec<(String, String, Option<String>)>,
    /// Commands that are being retried, or wait behind one that is.
    waiting: Vec<Waiting>,
}

impl Outcomes {
    async fn of(config: &Config, write: &Database, steps: &[saga_step::Step]) -> sqlx::Result<Self> {
        let sent: Vec<&str> =
            steps.iter().flat_map(|step| step.4.iter().map(|(id, _)| id.as_str())).collect();
        let source = config.namespace.source();
        let decided = command::outcomes(&write.pool, &source, &sent).await?;
        let mut waiting = receipts::waiting(config, &write.pool, &sent).await?;
        waiting.retain(|one| one.source == source);
        Ok(Self { decided, waiting })
    }

    fn step(&self, (number, at, input, standing, sent): saga_step::Step) -> Step {
        let sent = sent.0.into_iter().map(|(id, type_)| Sent { became: self.became(&id), id, type_ });
        Step { number, at: at.0, input, standing, sent: sent.collect() }
    }

    /// The outcome of a command, for people.
    fn became(&self, id: &str) -> String {
        if let Some(waiting) = self.waiting.iter().find(|one| one.id == id) {
            return receipts::waits_for(&waiting.waits_for);
        }
        match self.decided.iter().find(|(known, ..)| known == id) {
            None => "not decided yet".to_owned(),
            Some((_, status, None)) => status.clone(),
            Some((_, status, Some(code))) => format!("{status}: {code}"),
        }
    }
}

impl From<effect::Open> for Call {
    fn from(open: effect::Open) -> Self {
        let effect::Open { effect, key, status, attempts, unknown, due_at, last_error: error } = open;
        Self { effect, key: key.to_string(), status, attempts, unknown, due_at, error }
    }
}

impl From<saga_timer::Timer> for Timer {
    fn from((name, set_at, due_at, failed_tries, error): saga_timer::Timer) -> Self {
        Self { name, set_at: set_at.0, due_at: due_at.0, failed_tries, error }
    }
}
