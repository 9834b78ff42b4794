//! Instances as the operator sees them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_schemas::short_name;
use millrace_store::database::milliseconds;
use millrace_store::timestamp::Nearest;
use serde_json::{Value, json};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgPool, Row as _};

use crate::config::Config;
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

/// Which instances.
#[derive(Default)]
pub(super) struct Filter<'f> {
    pub(super) saga: Option<&'f str>,
    pub(super) instance: Option<&'f str>,
    pub(super) standing: Option<&'f str>,
    pub(super) ended: bool,
    pub(super) stuck: bool,
    pub(super) stuck_after: Duration,
    pub(super) limit: i64,
}

/// A timer may be held by hand, due at `infinity`: no calendar of ours has that.
const FIND: &str = "
    SELECT * FROM (
        SELECT s.saga, s.instance, s.standing, s.ended, s.version, s.started_at, s.updated_at, s.awaiting,
               (SELECT least(min(due_at), '9999-12-31') FROM saga_timer AS t
                WHERE t.saga = s.saga AND t.instance = s.instance) AS due_at,
               coalesce(
                   (SELECT 'its next record is ' || CASE b.status WHEN 'dead' THEN 'a dead letter: ' ELSE 'tried again: ' END
                           || coalesce(b.message, '')
                    FROM blocked_key AS b
                    WHERE b.grp = $1 || s.saga AND b.key = convert_to(s.instance, 'UTF8') LIMIT 1),
                   (SELECT 'its timer ' || t.name || ' fails: ' || t.error FROM saga_timer AS t
                    WHERE t.saga = s.saga AND t.instance = s.instance AND t.error IS NOT NULL LIMIT 1),
                   (SELECT 'no step since' FROM saga_under_way AS u
                    WHERE u.saga = s.saga AND u.instance = s.instance
                      AND greatest(s.updated_at, (SELECT max(t.due_at) FROM saga_timer AS t WHERE t.saga = s.saga
                                                  AND t.instance = s.instance AND t.by_calendar))
                          < now() - $2 * interval '1 ms')
               ) AS stuck
        FROM saga AS s
        WHERE ($3::text IS NULL OR s.saga = $3) AND ($4::text IS NULL OR s.instance = $4)
          AND ($5::text IS NULL OR s.standing = $5) AND ($6 OR NOT s.ended)
    ) AS found
    WHERE NOT $7 OR stuck IS NOT NULL
    ORDER BY started_at, saga, instance LIMIT $8";

/// Finds instances, the oldest first.
pub(super) async fn find(config: &Config, pool: &PgPool, filter: &Filter<'_>) -> sqlx::Result<Vec<Found>> {
    let rows = sqlx::query(FIND)
        .bind(config.namespace.group(""))
        .bind(milliseconds(filter.stuck_after))
        .bind(filter.saga)
        .bind(filter.instance)
        .bind(filter.standing)
        .bind(filter.ended)
        .bind(filter.stuck)
        .bind(filter.limit)
        .fetch_all(pool)
        .await?;
    rows.iter().map(found).collect()
}

fn found(row: &PgRow) -> sqlx::Result<Found> {
    let Json(awaiting): Json<Value> = row.try_get("awaiting")?;
    let types = awaiting.as_object().into_iter().flat_map(|awaiting| awaiting.values());
    Ok(Found {
        saga: row.try_get("saga")?,
        instance: row.try_get("instance")?,
        standing: row.try_get("standing")?,
        ended: row.try_get("ended")?,
        steps: row.try_get("version")?,
        started_at: row.try_get::<Nearest, _>("started_at")?.0,
        updated_at: row.try_get::<Nearest, _>("updated_at")?.0,
        due_at: row.try_get::<Option<Nearest>, _>("due_at")?.map(|Nearest(due_at)| due_at),
        awaiting: types.filter_map(Value::as_str).map(|type_| short_name(type_).to_owned()).collect(),
        stuck: row.try_get("stuck")?,
    })
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
