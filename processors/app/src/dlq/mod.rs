//! `millrace dlq`: dead letters, seen, redriven and discarded.

pub mod cli;
mod copy;
mod desk;
mod document;
mod filter;
pub mod id;
mod letter;
mod list;
mod preview;
mod settle;
mod show;

use millrace_ops::config::Config;
use millrace_ops::failure::Failure;

use crate::output::Format;
use cli::Action;
use settle::{Order, Verb};

/// Does what was asked for.
///
/// # Errors
/// [`Failure::NotFound`] when there is no such letter, [`Failure::Refused`] when a letter could not be changed, after
/// the others were.
pub async fn dlq(config: &Config, format: Format, action: &Action) -> Result<(), Failure> {
    match action {
        Action::List(options) => list::list(config, format, options).await,
        Action::Show { id } => show::show(config, format, *id).await,
        Action::Redrive(options) if options.dry_run => preview::preview(config, format, &options.which).await,
        Action::Redrive(cli::Redrive { which, why, rate, .. }) => {
            let why = why.as_deref().unwrap_or_default();
            settle::settle(config, format, &Order { verb: Verb::Redrive, which, why, rate: *rate }).await
        }
        Action::Discard(cli::Discard { which, why }) => {
            settle::settle(config, format, &Order { verb: Verb::Discard, which, why, rate: None }).await
        }
    }
}
