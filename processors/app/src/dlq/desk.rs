//! What redrive, discard and dry runs work with: letters, their records, and the roles that they failed in.

use std::sync::Arc;

use millrace_engine::retry::Retries;
use millrace_engine::{Producer, Record, WorkError};
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::layout::Side;
use millrace_ops::outage;
use millrace_ops::roles::{Roles, producer};
use millrace_store::dead_letter::First;

use super::cli::Which;
use super::copy::Copies;
use super::filter;
use super::letter::{Ledgers, Letter};
use crate::output;

/// Everything connects when it is first used.
pub(super) struct Desk<'c> {
    pub(super) config: &'c Config,
    pub(super) ledgers: Ledgers<'c>,
    copies: Copies<'c>,
    pub(super) roles: Roles,
    producer: Producer,
}

/// The record of a letter and what settles it.
pub(super) struct Work {
    pub(super) retries: Retries,
    pub(super) record: Record,
}

/// Why a letter could not be worked on.
pub(super) enum Setback {
    /// Another transaction was in the way: once more.
    Contended,
    /// This letter cannot be; the others can.
    Refused(String),
    /// None can be now.
    Failed(Failure),
}

impl From<Failure> for Setback {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl<'c> Desk<'c> {
    pub(super) fn new(config: &'c Config) -> Result<Self, Failure> {
        Ok(Self {
            config,
            ledgers: Ledgers::of(config)?,
            copies: Copies::new(config)?,
            roles: Roles::new(config)?,
            producer: producer(config)?,
        })
    }

    /// The chosen letters. Those of one key are in the order of their records, so that each finds the ones before it.
    pub(super) async fn chosen(&self, which: &Which) -> Result<Vec<Letter>, Failure> {
        let mut letters = Vec::new();
        for id in &which.ids {
            letters.push(self.ledgers.one(*id).await?);
        }
        if which.ids.is_empty() {
            filter::check(self.config, &self.ledgers, &which.filters).await?;
            // One more, to know whether there are more.
            let most = which.max.saturating_add(1);
            letters = self.ledgers.fitting(&which.filters, Some("dead"), First::Oldest, most).await?;
        }
        let max = usize::try_from(which.max).unwrap_or(usize::MAX);
        if letters.len() > max {
            output::say(&format!(
                "more than {max} letters fit: these are the first; run it again for the others"
            ));
            letters.truncate(max);
        }
        letters.sort_by(|a, b| {
            let place = |letter: &Letter| (letter.partition, letter.offset, letter.id.row);
            a.topic.cmp(&b.topic).then_with(|| place(a).cmp(&place(b)))
        });
        Ok(letters)
    }

    /// A letter's record and role.
    pub(super) fn work(&self, letter: &Letter) -> Result<Work, Setback> {
        let retries = self.retries(letter).map_err(Setback::Refused)?;
        let record = self.copies.of(letter)?.map_err(Setback::Refused)?.original;
        Ok(Work { retries, record })
    }

    /// Whether nothing waits behind a letter.
    pub(super) fn passes_over(&self, letter: &Letter) -> bool {
        self.retries(letter).is_ok_and(|retries| !retries.role.waits_behind_dead())
    }

    /// What settles the records of a letter's group and topic.
    pub(super) fn retries(&self, letter: &Letter) -> Result<Retries, String> {
        let Letter { group, topic, generation, .. } = letter;
        let retries = self.roles.retries((group, *generation), topic, Arc::new(self.producer.clone()));
        retries.ok_or_else(|| format!("nothing in this build reads {topic} as {group}"))
    }

    /// What an error of the engine means for a letter of this side.
    pub(super) fn setback(&self, side: Side, error: WorkError) -> Setback {
        match error {
            WorkError::Contended(_)
            | WorkError::Overran(_)
            | WorkError::Outdated(_)
            | WorkError::Fenced
            | WorkError::Held(_) => Setback::Contended,
            WorkError::Refused(reason) | WorkError::NotTaken(reason) => Setback::Refused(reason),
            WorkError::Faulty(fault) => Setback::Refused(fault.message),
            outage @ WorkError::Outage { .. } => Setback::Failed(outage::failure(self.config, side, outage)),
        }
    }
}
