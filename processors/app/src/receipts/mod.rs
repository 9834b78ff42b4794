//! `millrace receipt` and `millrace commands`: outcomes of commands.

mod options;
mod text;

use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::receipts::{self, Filters, Receipts, Status};

pub use options::Options;

use crate::output::{self, Format};

/// Shows the outcome of a command.
///
/// # Errors
/// [`Failure::NotFound`] when it is neither in the ledger nor among the undecided records.
pub async fn receipt(config: &Config, format: Format, id: &str, source: Option<&str>) -> Result<(), Failure> {
    let found = Receipts::new(config)?.find(id, source).await?;
    let text: Vec<String> = found.iter().map(text::receipt).collect();
    output::print(format, &text.join("\n"), &found)
}

/// Lists decided commands, or those being retried, the newest first.
///
/// # Errors
/// [`Failure::Usage`] or [`Failure::NotFound`] when there is no such stream; when the ledger cannot be read.
pub async fn commands(config: &Config, format: Format, options: &Options) -> Result<(), Failure> {
    let Options { stream, status, since, limit } = options;
    let filters = Filters { stream: stream.clone(), status: status.map(Status::from), since: *since };
    let found = output::first(receipts::list(config, &filters, *limit).await?);
    let text = match filters.status {
        Some(Status::Retrying) => text::list_waiting(&found),
        _ => text::list(&found),
    };
    output::print(format, &text, &found)
}
