//! Keys whose records wait for a retry, behind a dead letter, or for a missing version.

use chrono::{DateTime, Utc};
use millrace_store::blocked_key::{self, Status, Which};
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Config;
use crate::failure::Failure;
use crate::known;
use crate::layout::{self, Side};
use crate::page::{Page, one_more};
use crate::postgres::Database;

/// A filter of keys: those that match every given field.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    /// The group, by its role or its full name.
    pub group: Option<String>,
    /// What they wait for.
    pub status: Option<Status>,
    /// One of these ordering keys; empty for all.
    pub keys: Vec<String>,
}

/// A key whose records wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "WaitingKey")]
pub struct Waiting {
    /// The consumer group.
    pub group: String,
    /// The generation of the view that it builds.
    pub generation: i32,
    /// The topic.
    pub topic: String,
    /// The ordering key.
    pub key: String,
    /// `retrying`, `dead` or `gap`.
    pub status: String,
    /// The id of the blocking record, if it has one.
    pub id: Option<String>,
    /// The number of attempts at the blocking record.
    pub attempts: i32,
    /// When its next attempt is due, while it is being retried.
    pub next_try_at: Option<DateTime<Utc>>,
    /// Since when the key is blocked.
    pub since: DateTime<Utc>,
    /// The number of waiting records, the blocking one included.
    pub records: i64,
    /// The error code.
    pub code: Option<String>,
    /// The error message.
    pub message: Option<String>,
}

/// The blocked keys of both sides, those that have been blocked longest first.
///
/// # Errors
/// [`Failure::Usage`] when there is no such group; when a database does not answer.
pub async fn list(config: &Config, filters: &Filters, limit: i64) -> Result<Page<Waiting>, Failure> {
    let groups = group_names(config, filters)?;
    let keys: Vec<&[u8]> = filters.keys.iter().map(String::as_bytes).collect();
    let which = Which {
        groups: groups.as_deref(),
        status: filters.status.map(Status::as_str),
        keys: (!keys.is_empty()).then_some(&keys),
    };
    let mut found = Vec::new();
    for side in [Side::Write, Side::Read] {
        let database = Database::of(config, side)?;
        let waiting = blocked_key::waiting(&database.pool, which, one_more(limit)).await;
        found.extend(waiting.map_err(|error| database.failure(error))?.into_iter().map(shown));
    }
    found.sort_by(|one: &Waiting, other| (one.since, &one.key).cmp(&(other.since, &other.key)));
    Ok(Page::of(found, limit))
}

/// The full names that the filter may mean; `None` for all groups.
fn group_names(config: &Config, filters: &Filters) -> Result<Option<Vec<String>>, Failure> {
    let Some(name) = &filters.group else { return Ok(None) };
    let groups = layout::groups(config);
    let names: Vec<String> = groups.into_iter().flat_map(|group| [group.role.to_owned(), group.id]).collect();
    known::among("group", name, &names)?;
    Ok(Some(vec![name.clone(), config.namespace.group(name)]))
}

fn shown(row: blocked_key::Waiting) -> Waiting {
    let blocked_key::Waiting { group, generation, topic, status, id, attempts, since, records, .. } = row;
    let next_try_at = (status == Status::Retrying.as_str()).then_some(row.due_at);
    let key = String::from_utf8_lossy(&row.key).into_owned();
    let (code, message) = (row.code, row.message);
    Waiting {
        group,
        generation,
        topic,
        key,
        status,
        id,
        attempts,
        next_try_at,
        since,
        records,
        code,
        message,
    }
}
