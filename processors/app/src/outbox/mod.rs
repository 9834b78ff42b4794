//! `millrace outbox`: skips a row that Kafka refuses.

pub mod cli;

use millrace_ops::audit::Operator;
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::outbox::skip::{self, Did, Row, Shown};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::output::{self, Format};
use crate::progress::Terminal;

/// Runs the action.
///
/// # Errors
/// [`Failure::NotFound`] when there is no such row, [`Failure::Refused`] when the connector has not failed, or does not continue
/// after it.
pub async fn outbox(config: &Config, format: Format, action: &cli::Action) -> Result<(), Failure> {
    match action {
        cli::Action::Skip(options) if options.dry_run => look(config, format, options).await,
        cli::Action::Skip(options) => skip(config, format, options).await,
    }
}

async fn look(config: &Config, format: Format, options: &cli::Skip) -> Result<(), Failure> {
    let (row, reason) = skip::look(config, options.id).await?;
    report(format, &row, "in its way may be", &format!("the connector: {reason}"))
}

async fn skip(config: &Config, format: Format, options: &cli::Skip) -> Result<(), Failure> {
    let operator = Operator::new(options.who.as_deref(), options.why.as_deref().unwrap_or_default());
    let (id, patience, terminal) = (options.id, options.patience.0, Terminal::default());
    match skip::skip(config, id, &operator, patience, &terminal).await? {
        (row, Did::Emitted) => report(format, &row, "emitted", ""),
        (row, Did::Skipped) => {
            report(format, &row, "skipped", "`millrace dlq list` has it once its readers have met it")
        }
    }
}

/// What was done with a row.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "OutboxSkip")]
pub(crate) struct Document<'d> {
    /// `emitted`, `skipped`, or with `--dry-run` `in its way may be`.
    did: &'d str,
    /// The row.
    row: Shown,
}

fn report(format: Format, row: &Row, did: &str, more: &str) -> Result<(), Failure> {
    let shown = row.shown();
    let json = json!(shown);
    let text = |field: &str| json.get(field).filter(|value| !value.is_null()).map(Value::to_string);
    let facts: Vec<String> = ["topic", "key", "version", "bytes"]
        .iter()
        .filter_map(|field| Some(format!("{field} {}", text(field)?)))
        .collect();
    let text = format!("{did}: {} ({})\n{more}", row.id, facts.join(", "));
    output::print(format, &format!("{}\n", text.trim_end()), &Document { did, row: shown })
}
