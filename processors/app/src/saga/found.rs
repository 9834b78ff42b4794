//! Instances as the operator sees them.

use chrono::{DateTime, Utc};
use millrace_ops::config::Config;
use millrace_schemas::short_name;
use millrace_store::saga::{self, Filter};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::output;

/// An instance, and what is wrong with it.
pub(super) struct Found {
    pub(super) saga: String,
    pub(super) instance: String,
    pub(super) standing: String,
    pub(super) ended: bool,
    pub(super) steps: i64,
    pub(super) started_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
    /// When its next timer is due.
    pub(super) due_at: Option<DateTime<Utc>>,
    /// Types of the commands whose outcome it waits for.
    pub(super) awaiting: Vec<String>,
    /// Why it needs an operator.
    pub(super) stuck: Option<String>,
}

/// Finds instances, the oldest first.
pub(super) async fn find(config: &Config, pool: &PgPool, filter: &Filter<'_>) -> sqlx::Result<Vec<Found>> {
    let found = saga::find(pool, &config.namespace.group(""), filter).await?;
    Ok(found.into_iter().map(Found::from).collect())
}

impl From<saga::Found> for Found {
    fn from(found: saga::Found) -> Self {
        let types = found.awaiting.as_object().into_iter().flat_map(|awaiting| awaiting.values());
        let awaiting = types.filter_map(Value::as_str).map(|type_| short_name(type_).to_owned()).collect();
        let saga::Found {
            saga, instance, standing, ended, steps, started_at, updated_at, due_at, stuck, ..
        } = found;
        Self { saga, instance, standing, ended, steps, started_at, updated_at, due_at, awaiting, stuck }
    }
}

impl Found {
    pub(super) fn json(&self) -> Value {
        json!({
            "saga": self.saga, "instance": self.instance, "standing": self.standing, "ended": self.ended,
            "steps": self.steps, "started_at": output::time(self.started_at),
            "updated_at": output::time(self.updated_at), "due_at": self.due_at.map(output::time),
            "awaiting": self.awaiting, "stuck": self.stuck,
        })
    }
}
