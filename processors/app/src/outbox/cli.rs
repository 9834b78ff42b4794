//! The command line of `millrace outbox`.

use clap::{Args, Subcommand};
use millrace_ops::moment::{self, Span};
use uuid::Uuid;

/// What to do with the outbox.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Let the connector go on past a row that it cannot carry
    Skip(Skip),
}

/// Options of `outbox skip`.
#[derive(Debug, Args)]
#[command(after_help = SKIP_HELP)]
pub struct Skip {
    /// The row's id in the table `outbox`
    pub id: Uuid,
    /// Why, for the table `audit`
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    pub why: Option<String>,
    /// Who, for the table `audit` [default: the user]
    #[arg(long, value_name = "NAME")]
    pub who: Option<String>,
    /// Change nothing: show the row and what the connector says
    #[arg(long)]
    pub dry_run: bool,
    /// How long the connector may take to carry what is behind the row
    #[arg(long, value_parser = moment::span, value_name = "TIME", default_value = "5m")]
    pub patience: Span,
}

const SKIP_HELP: &str = "\
For a connector that has failed and fails again after each restart, because Kafka does not take a row: `millrace status` says
so, and nothing behind the row reaches Kafka. Raise the topic's limit first if the row is only a little too large
(connectors/README.md, Sizes). Which rows are the largest:
  SELECT id, topic, aggregateid, version, octet_length(payload) FROM outbox ORDER BY 5 DESC LIMIT 5

If the topic takes the row from Millrace itself, it is emitted, and nothing is lost. Else its topic has a record without value
in its place, with the row's key and headers, from then on for `millrace verify` too. Whatever reads the topic has it as a dead letter:
a view's stream waits there until the letter is discarded, and goes on without the event. The write side keeps the event.

Meanwhile Connect leaves out every row that Kafka does not take (errors.tolerance=all); `millrace verify` names them. Does not
work where Connect's workers have exactly.once.source.support. When this command is killed, `millrace setup` makes the connector
strict again, and the same command goes on.

Examples:
  millrace outbox skip 0197b2a4-0000-7000-8000-000000000000 --dry-run
  millrace outbox skip 0197b2a4-0000-7000-8000-000000000000 --why \"larger than the topic takes\"
  millrace dlq discard --topic shop.evt.orders.v1 --key 10248 --why \"the same\"

Exit code 1 when the connector has not failed or does not get past the row in time, 4 when there is no such row.";
