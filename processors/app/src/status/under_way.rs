//! What goes on by itself: sagas, calls to the outside, and commands that they have sent.

use chrono::{DateTime, Utc};
use millrace_store::timestamp::Nearest;
use serde::Serialize;

use crate::config::Config;
use crate::failure::Failure;
use crate::output::{self, Table};
use crate::postgres::Database;

/// Some of what is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct UnderWay {
    /// `saga fulfilment`, `effect payment`, `commands`.
    pub(super) what: String,
    /// Where it stands.
    pub(super) standing: String,
    pub(super) count: i64,
    /// Since when the oldest of it.
    pub(super) since: DateTime<Utc>,
}

/// Asks the write side.
pub(super) async fn look(config: &Config, write: &Database) -> Result<Vec<UnderWay>, Failure> {
    let rows: Vec<(String, String, i64, Nearest)> = sqlx::query_as(
        "SELECT 'saga ' || saga, standing, count(*), min(started_at) FROM saga_under_way GROUP BY 1, 2
         UNION ALL
         SELECT 'effect ' || effect, status, count(*), min(created_at) FROM effect
         WHERE status IN ('waiting', 'calling') GROUP BY 1, 2
         UNION ALL
         SELECT 'commands', 'sent and not decided', count(*), min(occurred_at) FROM outbox
         WHERE version IS NULL AND starts_with(topic, $1)
           AND NOT EXISTS (SELECT FROM command WHERE command.id = outbox.id::text AND source = $2)
         HAVING count(*) > 0
         ORDER BY 1, 2",
    )
    .bind(format!("{}.cmd.", config.namespace))
    .bind(config.namespace.source())
    .fetch_all(&write.pool)
    .await
    .map_err(|error| write.failure(error))?;
    let found = |(what, standing, count, Nearest(since))| UnderWay { what, standing, count, since };
    Ok(rows.into_iter().map(found).collect())
}

/// For people.
pub(super) fn shown(under_way: &[UnderWay]) -> String {
    let mut table = Table::new(&["what", "standing", "count", "since"]);
    for UnderWay { what, standing, count, since } in under_way {
        table.row([what.clone(), standing.clone(), count.to_string(), output::time(*since)]);
    }
    if table.is_empty() { "nothing\n".to_owned() } else { table.render() }
}

impl std::fmt::Display for UnderWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} {}", self.what, self.count, self.standing)
    }
}
