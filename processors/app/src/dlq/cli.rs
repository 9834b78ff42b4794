//! The command line of `millrace dlq`.

use chrono::{DateTime, Utc};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use millrace_ops::audit::Operator;
use millrace_ops::dead_letters::{self, Choice, Id, Order, Verb};
use millrace_ops::moment;

/// The help's explanation of dead letters.
pub const HELP: &str = "\
A record that fails is retried a few times, then it becomes a dead letter: a row of the table `dead_letter` of its side and a \
record on the topic <topic>.<group>.dlq. Its id has the side and the row: w12 is on the write side (commands, sagas, \
effects), r7 is an event that a view could not fold (read side). A view applies no further event of the dead letter's stream \
until the letter is redriven or discarded.

Usual steps: find the letters, look at one, remove the cause, try it, redrive.
  millrace dlq list --since 1d
  millrace dlq show w12
  millrace dlq redrive w12 --dry-run
  millrace dlq redrive w12 --why \"the customer is registered now\"

`millrace run` must run for a redriven record to be processed. `millrace audit list` shows every change.";

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// List dead letters, the newest first
    List(List),
    /// Show a dead letter: its row, its headers and its value as JSON
    Show {
        /// The letter's id, such as w12 or r7
        id: Id,
    },
    /// Give the records of dead letters to their groups again, with all their attempts
    Redrive(Redrive),
    /// Give dead letters up: the records that wait behind them are processed without them
    Discard(Discard),
}

/// A filter of letters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Filters {
    /// Only of this group: a role such as commands or orders, or a group's full name
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// Only of this topic
    #[arg(long, value_name = "NAME")]
    pub topic: Option<String>,
    /// Only with this key; repeat it for several
    #[arg(long = "key", value_name = "TEXT")]
    pub keys: Vec<String>,
    /// Only with this code, such as reference-not-found
    #[arg(long)]
    pub code: Option<String>,
    /// Only that failed since: 15m, 1h, 2d ago, or an RFC 3339 time
    #[arg(long, value_parser = moment::moment, value_name = "WHEN")]
    pub since: Option<DateTime<Utc>>,
}

/// Options of `dlq list`.
#[derive(Debug, Args)]
#[command(after_help = LIST_HELP)]
pub struct List {
    /// A filter of letters.
    #[command(flatten)]
    pub filters: Filters,
    /// Only letters with this status
    #[arg(long, value_enum, default_value_t)]
    pub status: Status,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
    pub limit: i64,
}

const LIST_HELP: &str = "\
Examples:
  millrace dlq list                                   all open dead letters of both sides
  millrace dlq list --group commands --code reference-not-found --since 1h
  millrace dlq list --key 10248 --status all          the history of one key";

/// The status of a letter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Status {
    /// Open: neither redriven nor discarded.
    #[default]
    Dead,
    /// Its record was given to its group again.
    Redriven,
    /// It was given up.
    Discarded,
    /// Any status.
    All,
}

impl Status {
    /// The status in the table; `None` for all.
    pub fn of_letters(self) -> Option<dead_letters::Status> {
        match self {
            Status::Dead => Some(dead_letters::Status::Dead),
            Status::Redriven => Some(dead_letters::Status::Redriven),
            Status::Discarded => Some(dead_letters::Status::Discarded),
            Status::All => None,
        }
    }
}

impl From<&Filters> for dead_letters::Filters {
    fn from(filters: &Filters) -> Self {
        let Filters { group, topic, keys, code, since } = filters.clone();
        Self { group, topic, keys, code, since }
    }
}

/// Which letters to change: those with these ids, or all open ones that match the filters.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").multiple(true).required(true).args(WHICH))]
pub struct Which {
    /// Ids of letters, such as w12 r7
    #[arg(value_name = "ID", conflicts_with_all = FILTERS)]
    pub ids: Vec<Id>,
    /// Or letters that match these filters.
    #[command(flatten)]
    pub filters: Filters,
    /// At most this many, the oldest first
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub max: i64,
    /// Who does it, for the audit [default: the user's name]
    #[arg(long, value_name = "NAME")]
    pub who: Option<String>,
}

impl Which {
    /// The chosen letters.
    pub fn choice(&self) -> Choice {
        Choice { ids: self.ids.clone(), filters: (&self.filters).into(), max: self.max }
    }

    fn order(&self, verb: Verb, why: &str, rate: Option<u32>) -> Order {
        Order { verb, choice: self.choice(), operator: Operator::new(self.who.as_deref(), why), rate }
    }
}

const FILTERS: [&str; 5] = ["group", "topic", "keys", "code", "since"];
const WHICH: [&str; 6] = ["ids", "group", "topic", "keys", "code", "since"];

/// Options of `dlq redrive`.
#[derive(Debug, Args)]
#[command(after_help = REDRIVE_HELP)]
pub struct Redrive {
    /// A filter of letters.
    #[command(flatten)]
    pub which: Which,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    pub why: Option<String>,
    /// Change nothing: try each record separately and show the result
    #[arg(long)]
    pub dry_run: bool,
    /// At most this many per second [default: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
}

impl Redrive {
    /// The requested operation.
    pub fn order(&self) -> Order {
        self.which.order(Verb::Redrive, self.why.as_deref().unwrap_or_default(), self.rate)
    }
}

const REDRIVE_HELP: &str = "\
Examples:
  millrace dlq redrive w12 --dry-run                  the result if it was redriven: events, rows, or the same failure
  millrace dlq redrive w12 w13 --why \"the customer is registered now\"
  millrace dlq redrive --group orders --code refused-by-database --rate 50 --why \"the column is wider now\"

Each letter is redriven in its own transaction: run an interrupted redrive again, and letters that are already redriven or \
discarded are skipped. A redriven record is processed before later records of its key. When it fails again after all its \
attempts, it becomes a new dead letter.

A record that was too large for its dead letter topic is read from its source topic, as long as that keeps it; `dlq show` \
says so.

A document that Elasticsearch refused (code document-refused) is built again from its current row, or from its event in the \
outbox, and sent; when it is refused again, its letter stays open.

Exit code 1 when a letter could not be redriven; the others are. With --dry-run when a record would fail again, would wait, \
or could not be tried.";

/// Options of `dlq discard`.
#[derive(Debug, Args)]
#[command(after_help = DISCARD_HELP)]
pub struct Discard {
    /// A filter of letters.
    #[command(flatten)]
    pub which: Which,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    pub why: Option<String>,
    /// Change nothing: list the letters that would be discarded
    #[arg(long)]
    pub dry_run: bool,
}

impl Discard {
    /// The requested operation.
    pub fn order(&self) -> Order {
        self.which.order(Verb::Discard, self.why.as_deref().unwrap_or_default(), None)
    }
}

const DISCARD_HELP: &str = "\
Examples:
  millrace dlq discard --group orders --code undecodable --dry-run      which letters these are
  millrace dlq discard r7 --why \"a test order, it was never placed\"
  millrace dlq discard --topic millrace.cmd.orders.v1 --code undecodable --why \"sent by a broken client, sent again since\"

The group continues as if it had applied the record; the view's rows of that stream may be wrong from then on. The letter \
stays in the table `dead_letter` as discarded, and its record stays on the dead letter topic.";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        action: Action,
    }

    fn taken(line: &str) -> bool {
        Line::try_parse_from(["dlq"].into_iter().chain(line.split(' '))).is_ok()
    }

    #[test]
    fn letters_are_chosen_by_ids_or_by_filters_and_never_all_by_mistake() {
        assert!(taken("discard w1 r2 --why x") && taken("discard --group orders --code y --why x"));
        assert!(!taken("discard --why x") && !taken("discard w1 --group orders --why x"));
        assert!(!taken("redrive --max 5 --why x") && !taken("redrive 12 --why x"));
    }

    #[test]
    fn a_change_needs_a_reason_and_a_dry_run_none() {
        assert!(!taken("discard w1") && !taken("redrive w1"));
        assert!(taken("redrive w1 --dry-run") && taken("discard --group orders --dry-run"));
        assert!(taken("redrive w1 --rate 5 --why x"));
        assert!(!taken("redrive w1 --rate 0 --why x"));
    }

    #[test]
    fn dead_letters_are_listed_unless_others_are_asked_for() {
        let Ok(Line { action: Action::List(list) }) = Line::try_parse_from(["dlq", "list"]) else {
            panic!("a list")
        };
        let expected = (Some(dead_letters::Status::Dead), 50, Filters::default());
        assert_eq!((list.status.of_letters(), list.limit, list.filters), expected);
        assert!(taken("list --status all") && !taken("list --status lost") && !taken("list --limit 0"));
    }
}
