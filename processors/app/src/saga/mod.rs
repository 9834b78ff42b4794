//! `millrace saga`: lists instances, shows the history of one, cancels one.

mod list;
mod show;

use chrono::Utc;
use clap::{Args, Subcommand};
use millrace_ops::audit::Operator;
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::moment::{self, Span};
use millrace_ops::sagas::{self, Filters, Id};
use millrace_ops::{known, layout};
use schemars::JsonSchema;
use serde::Serialize;

use crate::output::{self, Format};

/// The help's examples and notes.
pub const HELP: &str = "\
Examples:
  millrace saga list                             instances that have not ended, the oldest first
  millrace saga list --stuck                     only instances that need an operator
  millrace saga show fulfilment/10248            each step: its input and the commands that it sent
  millrace saga cancel fulfilment/10248 --why fraud
                                                 undo the steps so far with the saga's compensating commands

An instance is stuck when its next record is a dead letter (millrace dlq list --group fulfilment), when its timer fails, \
or when it has taken no step for a while (--stuck-after).";

/// What to do with sagas.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// List instances that have not ended, the oldest first
    List(List),
    /// Show an instance: its state, its history, its timers
    Show {
        /// `saga/instance`, such as fulfilment/10248
        id: Id,
    },
    /// Cancel an instance: its steps are undone with the saga's compensating commands
    Cancel(Cancel),
}

/// Options of `saga list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only of this saga
    #[arg(long, value_name = "NAME", value_parser = saga_name)]
    pub saga: Option<String>,
    /// Only instances with this standing, such as paying
    #[arg(long, value_name = "STATE")]
    pub standing: Option<String>,
    /// Also instances that have ended
    #[arg(long)]
    pub all: bool,
    /// Only stuck instances
    #[arg(long)]
    pub stuck: bool,
    /// An instance that has taken no step for this long is stuck
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
    /// Why, for the audit and the instance's history
    #[arg(long)]
    pub why: String,
    /// Who does it, for the audit [default: the user's name]
    #[arg(long)]
    pub who: Option<String>,
}

/// An instance that is being cancelled.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SagaCancelled")]
pub(crate) struct Cancelled {
    /// `saga/instance`.
    cancelled: String,
}

fn saga_name(name: &str) -> Result<String, String> {
    known::among("saga", name, &layout::known_sagas()).map_err(|failure| failure.to_string())?;
    Ok(name.to_owned())
}

impl List {
    fn filters(&self) -> Filters {
        Filters {
            saga: self.saga.clone(),
            standing: self.standing.clone(),
            ended: self.all,
            stuck: self.stuck,
            stuck_after: self.stuck_after.0,
        }
    }
}

/// Runs the action.
///
/// # Errors
/// [`Failure::NotFound`] when there is no such instance, [`Failure::Refused`] when it cannot be cancelled.
pub async fn saga(config: &Config, format: Format, action: &Action) -> Result<(), Failure> {
    match action {
        Action::List(options) => {
            let found = output::first(sagas::list(config, &options.filters(), options.limit).await?);
            output::print(format, &list::table(&found, Utc::now()), &found)
        }
        Action::Show { id } => {
            let shown = sagas::show(config, id).await?;
            output::print(format, &show::text(&shown), &shown)
        }
        Action::Cancel(Cancel { id, why, who }) => {
            sagas::cancel(config, id, &Operator::new(who.as_deref(), why)).await?;
            let text = format!("{id} is being cancelled; `millrace saga show {id}` shows the progress\n");
            output::print(format, &text, &Cancelled { cancelled: id.to_string() })
        }
    }
}
