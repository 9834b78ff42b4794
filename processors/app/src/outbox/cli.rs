//! The command line of `millrace outbox`.

use clap::{Args, Subcommand};
use millrace_ops::moment::{self, Span};
use uuid::Uuid;

/// What to do with the outbox.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Skip a row that the connector cannot carry
    Skip(Skip),
}

/// Options of `outbox skip`.
#[derive(Debug, Args)]
#[command(after_help = SKIP_HELP)]
pub struct Skip {
    /// The row's id in the table `outbox`
    pub id: Uuid,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    pub why: Option<String>,
    /// Who does it, for the audit [default: the user's name]
    #[arg(long, value_name = "NAME")]
    pub who: Option<String>,
    /// Change nothing: show the row and the connector's error
    #[arg(long)]
    pub dry_run: bool,
    /// How long the connector may take to carry the rows after the skipped one
    #[arg(long, value_parser = moment::span, value_name = "TIME", default_value = "5m")]
    pub patience: Span,
}

const SKIP_HELP: &str = "\
For a connector that fails again after each restart because Kafka refuses a row: `millrace status` shows the error, and no later \
row reaches Kafka. If the row is only a little too large, raise the topic's limit instead (connectors/README.md, Sizes). The \
largest rows:
  SELECT id, topic, aggregateid, version, octet_length(payload) FROM outbox ORDER BY 5 DESC LIMIT 5

If Kafka accepts the row from Millrace's own producer, it is written to the topic and nothing is lost. Otherwise a record without \
value, with the row's key and headers, is written in its place, and `millrace verify` accepts it from then on. For every group \
that reads the topic the record is a dead letter: a view applies no further event of that stream until the letter is \
discarded, then continues without the event. The write side keeps the event.

While the command runs, Connect skips every row that Kafka refuses (errors.tolerance=all); `millrace verify` names them. The \
command does not work when Connect's workers have exactly.once.source.support. If it is killed, `millrace setup` sets \
errors.tolerance to none again, and the same command continues.

Examples:
  millrace outbox skip 0197b2a4-0000-7000-8000-000000000000 --dry-run
  millrace outbox skip 0197b2a4-0000-7000-8000-000000000000 --why \"larger than the topic takes\"
  millrace dlq discard --topic shop.evt.orders.v1 --key 10248 --why \"the same\"

Exit code 1 when the connector has not failed or does not get past the row in time, 4 when there is no such row.";
