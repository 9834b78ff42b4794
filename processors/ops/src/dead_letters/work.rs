//! Letters with their records and the roles in which they failed: shared by redrive, discard and dry runs.

use std::sync::Arc;

use millrace_engine::retry::Retries;
use millrace_engine::{Producer, Record, WorkError};
use millrace_store::dead_letter::First;

use super::copy::Copies;
use super::filter;
use super::id::Id;
use super::letter::{Letter, Status};
use super::tables::{Filters, Tables};
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;
use crate::listener::Listener;
use crate::outage;
use crate::page::{Page, one_more};
use crate::roles::{Roles, producer};

/// The letters to settle: those with given ids, or all open ones that match the filters.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Ids; empty when the filters are used.
    pub ids: Vec<Id>,
    /// Filters of open letters, when no ids are given.
    pub filters: Filters,
    /// At most this many, the oldest first.
    pub max: i64,
}

/// The chosen letters; changes nothing.
///
/// # Errors
/// [`Failure::NotFound`] when there is no such letter; when a database does not answer.
pub async fn chosen(
    config: &Config,
    choice: &Choice,
    listener: &dyn Listener,
) -> Result<Vec<Letter>, Failure> {
    DeadLetters::new(config)?.chosen(choice, listener).await
}

/// The dead letters of both sides, with the roles that apply their records. All clients connect when first used.
pub(super) struct DeadLetters<'c> {
    pub(super) config: &'c Config,
    pub(super) tables: Tables<'c>,
    copies: Copies<'c>,
    pub(super) roles: Roles,
    producer: Producer,
}

/// The record of a letter and its role.
pub(super) struct Work {
    pub(super) retries: Retries,
    pub(super) record: Record,
}

/// Why a letter could not be worked on.
pub(super) enum LetterError {
    /// A conflict with another transaction: try again.
    Contended,
    /// This letter cannot be settled; others can.
    Refused(String),
    /// No letter can be settled now.
    Failed(Failure),
}

impl From<Failure> for LetterError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl<'c> DeadLetters<'c> {
    pub(super) fn new(config: &'c Config) -> Result<Self, Failure> {
        Ok(Self {
            config,
            tables: Tables::of(config)?,
            copies: Copies::new(config)?,
            roles: Roles::new(config)?,
            producer: producer(config)?,
        })
    }

    /// The chosen letters. Those of one key are in the order of their records.
    pub(super) async fn chosen(
        &self,
        Choice { ids, filters, max }: &Choice,
        listener: &dyn Listener,
    ) -> Result<Vec<Letter>, Failure> {
        let mut letters = Vec::new();
        for id in ids {
            letters.push(self.tables.one(*id).await?);
        }
        if ids.is_empty() {
            filter::check(self.config, &self.tables, filters).await?;
            letters = self.tables.fitting(filters, Some(Status::Dead), First::Oldest, one_more(*max)).await?;
        }
        let Page { rows: mut letters, more, .. } = Page::of(letters, *max);
        if more {
            listener.say(&format!(
                "more than {max} letters fit: these are the first; run it again for the others"
            ));
        }
        letters.sort_by(|a, b| {
            let place = |letter: &Letter| (letter.partition, letter.offset, letter.id.row);
            a.topic.cmp(&b.topic).then_with(|| place(a).cmp(&place(b)))
        });
        Ok(letters)
    }

    /// A letter's record and role.
    pub(super) fn work(&self, letter: &Letter) -> Result<Work, LetterError> {
        let retries = self.retries(letter).map_err(LetterError::Refused)?;
        let record = self.copies.of(letter)?.map_err(LetterError::Refused)?.original;
        Ok(Work { retries, record })
    }

    /// Whether nothing waits behind a letter.
    pub(super) fn passes_over(&self, letter: &Letter) -> bool {
        self.retries(letter).is_ok_and(|retries| !retries.role.waits_behind_dead())
    }

    /// The retries of a letter's group and topic.
    pub(super) fn retries(&self, letter: &Letter) -> Result<Retries, String> {
        let Letter { group, topic, generation, .. } = letter;
        let retries = self.roles.retries((group, *generation), topic, Arc::new(self.producer.clone()));
        retries.ok_or_else(|| format!("nothing in this build reads {topic} as {group}"))
    }

    /// Converts an error of the engine for a letter of this side.
    pub(super) fn letter_error(&self, side: Side, error: WorkError) -> LetterError {
        match error {
            WorkError::Contended(_)
            | WorkError::Overran(_)
            | WorkError::Outdated(_)
            | WorkError::Fenced
            | WorkError::Paused(_) => LetterError::Contended,
            WorkError::Refused(reason) | WorkError::NotTaken(reason) => {
                LetterError::Refused(reason.to_string())
            }
            too_old @ WorkError::BuildTooOld(_) => LetterError::Refused(too_old.to_string()),
            WorkError::Faulty(fault) => LetterError::Refused(fault.message),
            outage @ WorkError::Outage { .. } => {
                LetterError::Failed(outage::failure(self.config, side, outage))
            }
        }
    }
}
