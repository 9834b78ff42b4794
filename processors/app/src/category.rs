//! `millrace category rename`: another name for a category, everywhere.

use std::sync::Arc;

use clap::{Args, Subcommand};
use millrace_ops::categories::{self, Renaming};
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::moment::{self, Span};
use millrace_ops::send::Sent;

use crate::output::Format;
use crate::progress::Terminal;
use crate::send;

/// The help's examples and notes.
pub const HELP: &str = "\
Examples:
  millrace category rename Beverages Drinks      every product of Beverages is in Drinks

Sends RecategoriseProduct for each product that the view `products` has in the category, discontinued or not, and waits for the \
outcomes; views and indices follow. Orders keep the category of their time. A product that is added under the old name \
meanwhile stays there: run it again. Two categories become one when the new name is in use.";

/// What to do with categories.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Give all products of a category another category
    Rename(Options),
}

/// Options of `category rename`.
#[derive(Debug, Args)]
pub struct Options {
    /// The name that it has
    from: String,
    /// The name that it gets
    to: String,
    /// Stop waiting for 5,000 outcomes after this long, such as 90s or 10m
    #[arg(long, default_value = "10m", value_parser = moment::span)]
    timeout: Span,
}

/// Runs the action.
///
/// # Errors
/// [`Failure::NotFound`] when no product is in the category; [`Failure::Refused`] when a command was not completed.
pub async fn category(config: &Config, format: Format, action: &Action) -> Result<(), Failure> {
    let Action::Rename(Options { from, to, timeout }) = action;
    let renaming = Renaming { from: from.clone(), to: to.clone(), timeout: timeout.0 };
    let (terminal, mut sent) = (Arc::new(Terminal::default()), Sent::default());
    let renamed = categories::rename(config, &renaming, terminal, &mut sent).await;
    // Pages before the one that failed were sent.
    let told = if renamed.is_ok() || sent.delivered > 0 { send::tell(format, &sent) } else { Ok(()) };
    renamed.and(told)
}
