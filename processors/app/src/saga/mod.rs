//! `millrace saga`: where each instance stands, how it came there, and how it is cancelled.

mod cancel;
mod found;
mod list;
mod show;

use clap::{Args, Subcommand};
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::moment::{self, Span};
use millrace_ops::{known, layout};

use crate::output::Format;

/// What `--help` says behind the actions.
pub const HELP: &str = "\
Examples:
  millrace saga list                             what is under way, the oldest first
  millrace saga list --stuck                     only what needs an operator
  millrace saga show fulfilment/10248            each step: its input, and the commands that followed
  millrace saga cancel fulfilment/10248 --why fraud
                                                 undoes what was done so far, as the saga knows how

An instance is stuck when its next record is a dead letter (millrace dlq list --group fulfilment), when its timer fails,
or when it has taken no step for a while (--stuck-after).";

/// What to do with sagas.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// List instances that have not come to their end, the oldest first
    List(List),
    /// Show an instance: its state, its history, its timers
    Show {
        /// `saga/instance`, such as fulfilment/10248
        id: Id,
    },
    /// Cancel an instance: what was done is undone, as the saga knows how
    Cancel(Cancel),
}

/// Options of `saga list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only of this saga
    #[arg(long, value_name = "NAME", value_parser = saga_name)]
    pub saga: Option<String>,
    /// Only where they stand so, such as paying
    #[arg(long, value_name = "STATE")]
    pub standing: Option<String>,
    /// Those that have come to their end too
    #[arg(long)]
    pub all: bool,
    /// Only those that are stuck
    #[arg(long)]
    pub stuck: bool,
    /// One that has taken no step for so long is stuck
    #[arg(long, default_value = "15m", value_parser = moment::span, value_name = "TIME")]
    pub stuck_after: Span,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
    pub limit: i64,
}

/// Options of `saga cancel`.
#[derive(Debug, Args)]
pub struct Cancel {
    /// `saga/instance`, such as fulfilment/10248
    pub id: Id,
    /// Why; kept in the table `audit`, and told to who asks
    #[arg(long)]
    pub why: String,
    /// Who [default: the user]
    #[arg(long)]
    pub who: Option<String>,
}

fn saga_name(name: &str) -> Result<String, String> {
    known::among("saga", name, &layout::known_sagas()).map_err(|failure| failure.to_string())?;
    Ok(name.to_owned())
}

/// Which instance of which saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id {
    /// The saga's name.
    pub saga: String,
    /// The instance.
    pub instance: String,
}

impl std::str::FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (saga, instance) = text.split_once('/').unwrap_or_default();
        let known = layout::known_sagas();
        if known.contains(&saga) && !instance.is_empty() {
            return Ok(Self { saga: saga.to_owned(), instance: instance.to_owned() });
        }
        Err(format!("write saga/instance, such as fulfilment/10248; there are {}", known.join(", ")))
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.saga, self.instance)
    }
}

/// Does what was asked for.
///
/// # Errors
/// [`Failure::NotFound`] when there is no such instance, [`Failure::Refused`] when it cannot be cancelled.
pub async fn saga(config: &Config, format: Format, action: &Action) -> Result<(), Failure> {
    match action {
        Action::List(options) => list::list(config, format, options).await,
        Action::Show { id } => show::show(config, format, id).await,
        Action::Cancel(options) => cancel::cancel(config, format, options).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_told_by_its_saga_and_its_name() {
        let id: Id = "fulfilment/a/b".parse().unwrap();
        assert_eq!((id.saga.as_str(), id.instance.as_str()), ("fulfilment", "a/b"));
        for wrong in ["10248", "sleeping/1", "fulfilment/"] {
            assert!(wrong.parse::<Id>().unwrap_err().contains("there are checkout, fulfilment"), "{wrong}");
        }
    }
}
