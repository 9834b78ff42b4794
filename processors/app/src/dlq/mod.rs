//! `millrace dlq`: lists, shows, redrives and discards dead letters.

pub mod cli;
mod list;
mod preview;
pub(crate) mod settle;
mod show;

use millrace_ops::config::Config;
use millrace_ops::dead_letters::{self, Counts, Order};
use millrace_ops::failure::Failure;

use crate::output::{self, Format};
use crate::progress::Terminal;
use cli::Action;

/// Runs the action.
///
/// # Errors
/// [`Failure::NotFound`] when there is no such letter, [`Failure::Refused`] when a letter could not be changed, after
/// the others were.
pub async fn dlq(config: &Config, format: Format, action: &Action) -> Result<(), Failure> {
    match action {
        Action::List(cli::List { filters, status, limit }) => {
            let page = dead_letters::list(config, &filters.into(), status.of_letters(), *limit).await?;
            let letters = output::first(page);
            output::print(format, &list::table(&letters), &letters)
        }
        Action::Show { id } => {
            let shown = dead_letters::show(config, *id).await?;
            output::print(format, &show::text(&shown), &shown)
        }
        Action::Redrive(options) if options.dry_run => {
            let terminal = Terminal::default();
            let previews = dead_letters::preview(config, &options.which.choice(), &terminal).await?;
            output::print(format, &preview::text(&previews), &previews)?;
            preview::verdict(&previews)
        }
        Action::Redrive(options) => settle(config, format, options.order()).await,
        Action::Discard(options) if options.dry_run => {
            let chosen = dead_letters::chosen(config, &options.which.choice(), &Terminal::default()).await?;
            output::print(format, &list::table(&chosen), &chosen)
        }
        Action::Discard(options) => settle(config, format, options.order()).await,
    }
}

/// Prints the result, also after an error.
async fn settle(config: &Config, format: Format, order: Order) -> Result<(), Failure> {
    let (verb, mut counts, terminal) = (order.verb, Counts::default(), Terminal::default());
    let settled = dead_letters::settle(config, order, &terminal, &mut counts).await;
    settle::print(format, &counts, verb)?;
    settled?;
    settle::verdict(&counts, verb)
}
