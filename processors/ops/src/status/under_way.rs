//! Work in progress: sagas, calls to external systems, and commands that they have sent.

use chrono::{DateTime, Utc};
use millrace_store::timestamp::Nearest;
use millrace_store::write_side;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Config;
use crate::failure::Failure;
use crate::postgres::Database;
use crate::verify::commands;

/// Work in progress of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UnderWay {
    /// `saga fulfilment`, `effect payment`, `commands`.
    pub what: String,
    /// Its standing.
    pub standing: String,
    /// Their number.
    pub count: i64,
    /// The time of the oldest.
    pub since: DateTime<Utc>,
}

/// Queries the write side. Commands that were sent before `not_before` are not counted, since without the auditor there may be
/// very many.
pub(crate) async fn look(
    config: &Config,
    write: &Database,
    not_before: Option<DateTime<Utc>>,
) -> Result<Vec<UnderWay>, Failure> {
    let (commands, source) = (format!("{}.cmd.", config.namespace), config.namespace.source());
    let since = commands::decided_before(write).await?.max(not_before);
    let rows = write_side::under_way(&write.pool, (&commands, &source), since).await;
    let rows = rows.map_err(|error| write.failure(error))?;
    let found = |(what, standing, count, Nearest(since))| UnderWay { what, standing, count, since };
    Ok(rows.into_iter().map(found).collect())
}

impl std::fmt::Display for UnderWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} {}", self.what, self.count, self.standing)
    }
}
