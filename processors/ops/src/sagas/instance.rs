//! Instances of sagas, for operators.

use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_schemas::short_name;
use millrace_store::saga;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use serde_with::serde_as;
use sqlx::PgPool;

use crate::config::Config;
use crate::failure::Failure;
use crate::known;
use crate::layout::{self, Side};
use crate::moment::Written;
use crate::page::{Page, one_more};
use crate::postgres::Database;

/// A filter of instances: those that match every given field.
#[derive(Debug, Clone)]
pub struct Filters {
    /// Only of this saga.
    pub saga: Option<String>,
    /// Only with this standing.
    pub standing: Option<String>,
    /// Also those that have ended.
    pub ended: bool,
    /// Only those that are stuck.
    pub stuck: bool,
    /// An instance that has taken no step for this long is stuck.
    pub stuck_after: Duration,
}

/// An instance, and why it is stuck, if it is.
#[serde_as]
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SagaInstance")]
pub struct Instance {
    /// Its saga's name.
    pub saga: String,
    /// The instance's name.
    pub instance: String,
    /// Its standing.
    pub standing: String,
    /// Whether it has ended.
    pub ended: bool,
    /// The number of its steps.
    pub steps: i64,
    /// The time of its first step.
    #[serde_as(as = "Written")]
    #[schemars(with = "Written")]
    pub started_at: DateTime<Utc>,
    /// The time of its last step.
    #[serde_as(as = "Written")]
    #[schemars(with = "Written")]
    pub updated_at: DateTime<Utc>,
    /// When its next timer is due.
    #[serde_as(as = "Option<Written>")]
    #[schemars(with = "Option<Written>")]
    pub due_at: Option<DateTime<Utc>>,
    /// The types of the commands whose outcome it waits for.
    pub awaiting: Vec<String>,
    /// Why it needs an operator.
    pub stuck: Option<String>,
}

/// Instances, the oldest first.
///
/// # Errors
/// [`Failure::Usage`] for a standing that no instance can have; when the database does not answer.
pub async fn list(config: &Config, filters: &Filters, limit: i64) -> Result<Page<Instance>, Failure> {
    let saga = filters.saga.as_deref();
    if let Some(standing) = &filters.standing {
        known::among("standing", standing, &layout::known_standings(saga))?;
    }
    let write = Database::of(config, Side::Write)?;
    let filter = saga::Filter {
        saga,
        standing: filters.standing.as_deref(),
        ended: filters.ended,
        stuck: filters.stuck,
        stuck_after: filters.stuck_after,
        limit: one_more(limit),
        ..saga::Filter::default()
    };
    let found = find(config, &write.pool, &filter).await.map_err(|error| write.failure(error))?;
    Ok(Page::of(found, limit))
}

/// Finds instances, the oldest first.
pub(super) async fn find(
    config: &Config,
    pool: &PgPool,
    filter: &saga::Filter<'_>,
) -> sqlx::Result<Vec<Instance>> {
    let found = saga::find(pool, &config.namespace.group(""), filter).await?;
    Ok(found.into_iter().map(Instance::from).collect())
}

impl From<saga::Found> for Instance {
    fn from(found: saga::Found) -> Self {
        let types = found.awaiting.as_object().into_iter().flat_map(|awaiting| awaiting.values());
        let awaiting = types.filter_map(Value::as_str).map(|type_| short_name(type_).to_owned()).collect();
        let saga::Found {
            saga, instance, standing, ended, steps, started_at, updated_at, due_at, stuck, ..
        } = found;
        Self { saga, instance, standing, ended, steps, started_at, updated_at, due_at, awaiting, stuck }
    }
}
