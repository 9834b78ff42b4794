//! `millrace retries`: keys whose records wait, and why.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::moment;
use millrace_ops::retries::{self, Filters, Waiting};
use millrace_store::blocked_key;

use crate::output::{self, Format, Table};

/// The help's examples and notes.
pub const HELP: &str = "\
A failed record is retried, and later records of its key wait; other keys are processed. After a dead letter of a view, its key \
waits until an operator redrives or discards the letter (`millrace dlq`). A key also waits for a missing version of its stream.

Examples:
  millrace retries list                        keys of all groups, those that have waited longest first
  millrace retries list --group orders --status retrying
  millrace commands --status retrying          each waiting command";

/// What to do with waiting keys.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// List keys whose records wait: for what, the number of attempts, the time of the next attempt, and the error
    List(List),
}

/// Options of `retries list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only of this group: a role such as commands or orders, or a group's full name
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Only keys that wait for this
    #[arg(long, value_enum)]
    status: Option<Status>,
    /// Only this ordering key; repeat it for several
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
    limit: i64,
}

/// What a key waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Status {
    /// The next attempt at a record.
    Retrying,
    /// An operator who redrives or discards a dead letter.
    Dead,
    /// A missing version of the stream.
    Gap,
}

impl From<Status> for blocked_key::Status {
    fn from(status: Status) -> Self {
        match status {
            Status::Retrying => Self::Retrying,
            Status::Dead => Self::Dead,
            Status::Gap => Self::Gap,
        }
    }
}

/// Runs the action.
///
/// # Errors
/// As [`retries::list`].
pub async fn retries(config: &Config, format: Format, action: &Action) -> Result<(), Failure> {
    let Action::List(List { group, status, keys, limit }) = action;
    let filters = Filters { group: group.clone(), status: status.map(Into::into), keys: keys.clone() };
    let found = output::first(retries::list(config, &filters, *limit).await?);
    output::print(format, &table(&found, Utc::now()), &found)
}

fn table(found: &[Waiting], now: DateTime<Utc>) -> String {
    let head = ["group", "topic", "key", "status", "for", "records", "attempts", "next try", "why"];
    let mut table = Table::new(&head);
    for one in found {
        let reason = [&one.code, &one.message].map(|part| part.clone().unwrap_or_default());
        table.row([
            one.group.clone(),
            one.topic.clone(),
            one.key.clone(),
            one.status.clone(),
            span(one.since, now),
            one.records.to_string(),
            one.attempts.to_string(),
            one.next_try_at.map(|at| format!("in {}", span(now, at))).unwrap_or_default(),
            reason.join(": ").trim_matches([':', ' ']).to_owned(),
        ]);
    }
    table.render()
}

/// The time from one moment to another; zero when that is past.
fn span(from: DateTime<Utc>, to: DateTime<Utc>) -> String {
    moment::shown((to - from).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_listed_with_its_reason_and_its_next_try() {
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        let one = Waiting {
            group: "shop.commands".to_owned(),
            generation: 1,
            topic: "shop.cmd.orders.v1".to_owned(),
            key: "10248".to_owned(),
            status: "retrying".to_owned(),
            id: Some("1".to_owned()),
            attempts: 2,
            next_try_at: Some(at(110)),
            since: at(0),
            records: 3,
            code: Some("reference-not-found".to_owned()),
            message: Some("no customer `ann`".to_owned()),
        };
        let gap =
            Waiting { status: "gap".to_owned(), next_try_at: None, code: None, message: None, ..one.clone() };
        let text = table(&[one, gap], at(100));
        let lines: Vec<String> =
            text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let expected = "shop.commands shop.cmd.orders.v1 10248 retrying 1m 40s 3 2 in 10.0 s reference-not-found: no \
                        customer `ann`";
        assert_eq!(lines, [expected, "shop.commands shop.cmd.orders.v1 10248 gap 1m 40s 3 2"]);
    }
}
