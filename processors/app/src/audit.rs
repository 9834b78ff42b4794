//! `millrace audit`: who changed what, and why.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use millrace_ops::audit::{self, Entry, Filters};
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::moment;

use crate::output::{self, Format, Table};

/// The help's examples and notes.
pub const HELP: &str = "\
Redrives, discards, cancellations, skips, resets and repairs are in the table audit of the side that they changed, each \
written in the transaction that did it. They are kept for retention.audit.

Examples:
  millrace audit list --since 1d
  millrace audit list --subject w12            what was done about a dead letter
  millrace audit list --format json            with all details";

/// What to do with the audit.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// List the changes of operators and the auditor's repairs, on both sides, the newest first
    List(List),
}

/// Options of `audit list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only of this kind, such as redrive or repair
    #[arg(long, value_name = "NAME")]
    action: Option<String>,
    /// Only of this subject, such as the dead letter w12
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// Only since: 15m, 1h, 2d ago, or an RFC 3339 time
    #[arg(long, value_parser = moment::moment, value_name = "WHEN")]
    since: Option<DateTime<Utc>>,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
    limit: i64,
}

/// Runs the action.
///
/// # Errors
/// As [`audit::list`].
pub async fn audit(config: &Config, format: Format, action: &Action) -> Result<(), Failure> {
    let Action::List(List { action, subject, since, limit }) = action;
    let subjects = subject.iter().cloned().collect();
    let filters = Filters { action: action.clone(), subjects, since: *since };
    let found = output::first(audit::list(config, &filters, *limit).await?);
    output::print(format, &table(&found), &found)
}

fn table(found: &[Entry]) -> String {
    let mut table = Table::new(&["at", "side", "who", "action", "subject", "why"]);
    for Entry { at, side, who, action, subject, why, .. } in found {
        let at = moment::written(*at);
        table.row([at.as_str(), *side, who.as_str(), action.as_str(), subject.as_str(), why.as_str()]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn an_action_is_listed_with_its_reason() {
        let [who, action, subject, why] = ["bo", "discard", "w12", "a test order"].map(str::to_owned);
        let at = DateTime::UNIX_EPOCH;
        let entry = Entry { at, side: "write", who, action, subject, why, details: Value::Null };
        let text = table(&[entry]);
        assert!(
            text.ends_with("1970-01-01T00:00:00.000Z  write  bo   discard  w12      a test order\n"),
            "{text}"
        );
    }
}
