//! `millrace prune`: removes old rows at once, which `millrace run` removes at intervals.

use clap::{Args, ValueEnum};
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::layout::Side;
use millrace_ops::moment;
use millrace_ops::prune::{self, Pruner, Rows};
use schemars::JsonSchema;
use serde::Serialize;

use crate::output::{self, Format, Table};
use crate::progress::Terminal;

const HELP: &str = "\
Removes rows of the two databases that are older than their retention and no longer needed. `millrace run` does the same, at a \
bounded rate (retention.interval, retention.rows_per_second).

  receipts       receipts of commands (retention.receipts), once Kafka has deleted their records
  outbox         rejections, outcomes, and decided commands of sagas and effects (retention.outbox), once Debezium has carried them
  saga-steps     steps of ended sagas (retention.saga_steps); the final standing is kept
  effect-bodies  requests and answers of ended calls (retention.effect_bodies); key and outcome are kept
  dead-letters   dead letters that were redriven or discarded (retention.dead_letters), with their copies in Kafka
  audit          the audit of operators' changes (retention.audit)

Events are never removed. Nothing is done twice because its row was removed: when a record is read again, no command is decided \
again, no step taken again and no call made again. A group of the write side cannot be reset to before its removed dead \
letters; `millrace status` reports such a reset.

Batches are small, so that everything else can run, and the command can be stopped at any time. The space is reused for new \
rows; VACUUM FULL returns it to the operating system.

Examples:
  millrace prune --dry-run                          the rows that would be removed now, and their age
  millrace prune                                    all kinds
  millrace prune --only effect-bodies --only audit
  millrace prune --dry-run --set retention.audit=1y

Exit code 1 when another process is removing rows, or when Debezium has not carried the outbox for a minute; rows that do not \
depend on Debezium are still removed.";

/// Options of `prune`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Options {
    /// Only count what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Only rows of this kind; may be given several times
    #[arg(long, value_enum, value_name = "KIND")]
    pub only: Vec<Kind>,
}

/// A kind of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Receipts of commands.
    Receipts,
    /// Rows of the outbox that are not events.
    Outbox,
    /// Steps of sagas that have ended.
    SagaSteps,
    /// Requests and answers of calls that have ended.
    EffectBodies,
    /// Dead letters that were redriven or discarded.
    DeadLetters,
    /// The audit of operators' changes.
    Audit,
}

impl From<Kind> for prune::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Receipts => Self::Receipts,
            Kind::Outbox => Self::Outbox,
            Kind::SagaSteps => Self::SagaSteps,
            Kind::EffectBodies => Self::EffectBodies,
            Kind::DeadLetters => Self::DeadLetters,
            Kind::Audit => Self::Audit,
        }
    }
}

/// What would be removed now.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WouldRemove {
    /// By kind and database.
    would_remove: Vec<Rows>,
}

/// What was removed.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Removed {
    /// By kind and database.
    removed: Vec<Rows>,
}

/// Removes old rows, or counts them.
///
/// # Errors
/// [`Failure::Busy`] when another process is removing rows; [`Failure::Refused`] when Debezium is too far behind;
/// [`Failure::Unreachable`]. What could be removed was removed and printed.
pub async fn prune(config: &Config, format: Format, options: &Options) -> Result<(), Failure> {
    let only: Vec<prune::Kind> = options.only.iter().map(|kind| (*kind).into()).collect();
    let kinds = if only.is_empty() { prune::Kind::ALL.as_slice() } else { only.as_slice() };
    let terminal = Terminal::default();
    let mut pruner = Pruner::new(config)?.with_listener(&terminal);
    if options.dry_run {
        let would_remove = pruner.count(kinds).await?;
        return output::print(format, &text("would remove", &would_remove), &WouldRemove { would_remove });
    }
    let mut removed = Vec::new();
    let pruned = pruner.prune(kinds, &mut removed).await;
    // A kind that failed may have removed rows before.
    if pruned.is_ok() || !removed.is_empty() {
        output::print(format, &text("removed", &removed), &Removed { removed })?;
    }
    pruned
}

fn text(did: &str, all: &[Rows]) -> String {
    let mut table = Table::new(&["kind", "database", did, "oldest"]);
    for Rows { kind, side, rows, oldest } in all {
        let side = match side {
            Side::Write => "write side",
            Side::Read => "read side",
        };
        let oldest = oldest.map(moment::written).unwrap_or_default();
        table.row([kind.as_str().to_owned(), side.to_owned(), rows.to_string(), oldest]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_removed_is_shown_with_the_age_of_the_oldest() {
        let oldest = Some(chrono::DateTime::UNIX_EPOCH);
        let rows = |kind, rows, oldest| Rows { kind, side: Side::Write, rows, oldest };
        let all = [rows(prune::Kind::SagaSteps, 12, oldest), rows(prune::Kind::Audit, 0, None)];
        let shown = "\
KIND        DATABASE    WOULD REMOVE  OLDEST
saga-steps  write side  12            1970-01-01T00:00:00.000Z
audit       write side  0
";
        assert_eq!(text("would remove", &all), shown);
    }
}
