//! Verification: compares stored data with the outbox.
//!
//! The outbox is the event store. It determines the records of the event topics, and the rows and documents of the views. Rows
//! are checked twice: by folding the events again, which finds errors in processing, and by SQL that is written independently of
//! the fold, which finds errors in the fold.

mod audited;
pub mod auditor;
pub mod clocks;
pub(crate) mod commands;
mod copy;
mod documents;
mod emit;
mod expected;
pub mod finding;
mod folded;
pub(crate) mod generation;
pub(crate) mod horizon;
mod index;
mod ledger;
mod log;
pub mod only;
mod places;
mod provider;
pub mod repair;
pub mod report;
mod rows;
mod sample;
mod topics;
mod unexpected;
pub mod what;

use crate::config::Config;
use crate::failure::Failure;
use crate::layout::{ReadModel, read_models};
use only::Only;

/// The scope of a comparison.
pub struct Scope {
    /// The views.
    pub models: Vec<ReadModel>,
    /// Whether the topics are compared, too.
    pub topics: bool,
    /// Only these rows.
    pub only: Option<Only>,
}

impl Scope {
    /// Everything.
    pub fn everything(config: &Config) -> Self {
        Self { models: read_models(config), topics: true, only: None }
    }

    /// Some views, or only the row with this key; everything when no view is named.
    ///
    /// # Errors
    /// [`Failure::Usage`] when there is no such view, or it has no rows.
    pub fn of(config: &Config, views: &[String], key: Option<String>) -> Result<Self, Failure> {
        if views.is_empty() {
            return Ok(Self::everything(config));
        }
        let models =
            views.iter().map(|view| ReadModel::named(config, view)).collect::<Result<Vec<_>, _>>()?;
        match models.iter().find(|model| model.table.is_none() && key.is_some()) {
            Some(log) => Err(Failure::usage(format!("--key: `{}` is a log and has no rows", log.name))),
            None => Ok(Self { models, topics: false, only: key.map(Only::Key) }),
        }
    }

    /// Every view whose rows name their customer, with the rows of this one.
    pub fn of_customer(config: &Config, customer_id: &str) -> Self {
        let names = |model: &ReadModel| {
            let table = model.table.as_ref();
            table.is_some_and(|table| table.columns.iter().any(|(column, _)| column == only::CUSTOMER))
        };
        let models = read_models(config).into_iter().filter(names).collect();
        Self { models, topics: false, only: Some(Only::Customer(customer_id.to_owned())) }
    }
}
