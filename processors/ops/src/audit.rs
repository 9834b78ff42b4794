//! The audit: who changed what, and why.

use std::os::unix::fs::MetadataExt as _;

use chrono::{DateTime, Utc};
use millrace_store::audit::{self, Action};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::config::Config;
use crate::failure::Failure;
use crate::known;
use crate::layout::Side;
use crate::page::{Page, one_more};
use crate::postgres::Database;

/// A filter of actions: those that match every given field.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    /// Of this kind.
    pub action: Option<String>,
    /// On one of these subjects; empty for all.
    pub subjects: Vec<String>,
    /// At this time or later.
    pub since: Option<DateTime<Utc>>,
}

/// An entry of the audit.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "AuditEntry")]
pub struct Entry {
    /// When.
    pub at: DateTime<Utc>,
    /// The side: `write` or `read`.
    pub side: &'static str,
    /// Who did it.
    pub who: String,
    /// What was done.
    pub action: String,
    /// The thing that was changed.
    pub subject: String,
    /// Why.
    pub why: String,
    /// Further details.
    pub details: Value,
}

/// The entries of both sides, the newest first.
///
/// # Errors
/// [`Failure::NotFound`] when no action of that kind was ever done; when a database does not answer.
pub async fn list(config: &Config, filters: &Filters, limit: i64) -> Result<Page<Entry>, Failure> {
    let Filters { action, subjects, since } = filters;
    let (mut found, mut kinds) = (Vec::new(), Vec::new());
    for (side, name) in [(Side::Write, "write"), (Side::Read, "read")] {
        let database = Database::of(config, side)?;
        let fail = |error| database.failure(error);
        let which = (action.as_deref(), (!subjects.is_empty()).then_some(subjects.as_slice()));
        let newest = audit::newest(&database.pool, which, *since, one_more(limit)).await.map_err(fail)?;
        found.extend(newest.into_iter().map(|done| entry(name, done)));
        kinds.extend(audit::actions(&database.pool).await.map_err(fail)?);
    }
    if let Some(action) = action.as_ref().filter(|action| !kinds.contains(action)) {
        let instead = known::instead(action, &kinds);
        return Err(Failure::NotFound(format!("no action `{action}` was ever done{instead}")));
    }
    found.sort_by_key(|entry: &Entry| std::cmp::Reverse(entry.at));
    Ok(Page::of(found, limit))
}

fn entry(side: &'static str, (at, who, action, subject, why, Json(details)): audit::Done) -> Entry {
    Entry { at: at.0, side, who, action, subject, why, details }
}

/// An operator who makes a change, with the reason.
#[derive(Debug, Clone)]
pub struct Operator {
    /// Who it is.
    pub who: String,
    /// The reason.
    pub why: String,
}

impl Operator {
    /// The given name, else the user's name in the environment, else the user's number and the host: a container has no more.
    pub fn new(who: Option<&str>, why: &str) -> Self {
        let named = |name: &str| std::env::var(name).ok().filter(|who| !who.is_empty());
        let who = who.map(str::to_owned).or_else(|| named("USER")).or_else(|| named("LOGNAME"));
        Self { who: who.unwrap_or_else(user_and_host), why: why.to_owned() }
    }

    /// Records an action in the transaction that does it.
    pub async fn sign(
        &self,
        connection: &mut PgConnection,
        action: &str,
        subject: &str,
        details: &Value,
    ) -> sqlx::Result<()> {
        let Self { who, why } = self;
        audit::insert(connection, &Action { who, action, subject, why, details }).await
    }
}

/// The user's number and the host, from the kernel.
fn user_and_host() -> String {
    let user =
        std::fs::metadata("/proc/self").map_or_else(|_| "unknown".to_owned(), |of| of.uid().to_string());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{user}@{}", host.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_a_users_name_is_told_from_others() {
        let (user, host) =
            user_and_host().split_once('@').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        assert!(user.parse::<u32>().is_ok() && !host.is_empty(), "{user}@{host}");
    }
}
