//! What became of commands: one by its id, or a list.

mod backlog;
mod list;
mod receipt;

use millrace_store::names::COMMANDS;
use millrace_store::parked::{self, Waiting, Which};
use millrace_store::{command, dead_letter};
use sqlx::PgPool;

use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;
use crate::postgres::Database;
pub use list::{Filters, Status, list};
pub(crate) use receipt::waits_for;
pub use receipt::{Letter, Receipt};

/// Finds receipts, with connections that are kept.
pub struct Receipts {
    config: Config,
    ledger: Database,
}

/// What the ledger has of a command.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its receipt.
    pub receipt: Receipt,
    /// Distinguishes it from another command with the same identity.
    pub fingerprint: Vec<u8>,
}

impl Receipts {
    /// Connects when first used.
    ///
    /// # Errors
    /// [`Failure::Usage`] when the URL of the write side cannot be used.
    pub fn new(config: &Config) -> Result<Self, Failure> {
        Ok(Self { config: config.clone(), ledger: Database::of(config, Side::Write)? })
    }

    /// What became of the command with this id; of each source that uses the id, unless one is given.
    ///
    /// # Errors
    /// [`Failure::NotFound`] when it is neither in the ledger nor among the records that wait to be decided; when a database or
    /// Kafka does not answer.
    pub async fn find(&self, id: &str, source: Option<&str>) -> Result<Vec<Receipt>, Failure> {
        let mut found = self.recorded(id, source).await?;
        if found.is_empty() {
            let waiting = backlog::backlog(&self.config, &self.ledger).await?;
            found = tokio::task::block_in_place(|| backlog::pending(&self.config, &waiting, id, source))?;
        }
        if found.is_empty() {
            // It may have been decided between the two queries.
            found = self.recorded(id, source).await?;
        }
        if found.is_empty() {
            return Err(self.missing(id, source).await?);
        }
        for dead in found.iter_mut().filter(|receipt| receipt.is_dead()) {
            dead.letter = self.letter(dead).await?;
        }
        Ok(found)
    }

    /// What the ledger has of commands, by source and id; those that are not decided are left out.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn decided(&self, commands: &[(&str, &str)]) -> Result<Vec<Recorded>, Failure> {
        let (sources, ids): (Vec<&str>, Vec<&str>) = commands.iter().copied().unzip();
        let found = command::receipts_of(&self.ledger.pool, (&sources, &ids)).await;
        let found = found.map_err(|error| self.ledger.failure(error))?;
        Ok(found.into_iter().map(|(receipt, fingerprint)| Recorded { receipt, fingerprint }).collect())
    }

    async fn missing(&self, id: &str, source: Option<&str>) -> Result<Failure, Failure> {
        let namespace = &self.config.namespace;
        let Some(source) = source else {
            return Ok(Failure::NotFound(format!(
                "no command `{id}` is in the ledger of `{namespace}` or waits to be decided"
            )));
        };
        let others = self.recorded(id, None).await?;
        let others: Vec<String> = others.into_iter().map(|receipt| format!("`{}`", receipt.source)).collect();
        let others =
            if others.is_empty() { String::new() } else { format!("; it is known of {}", others.join(", ")) };
        Ok(Failure::NotFound(format!(
            "no command `{id}` of the source `{source}` is in the ledger of `{namespace}` or waits to be decided{others}"
        )))
    }

    /// The receipt from Postgres: the decision, else what the command waits for, else its dead letter. Parked records are queried
    /// first, so that a command that is decided meanwhile is found in the ledger.
    async fn recorded(&self, id: &str, source: Option<&str>) -> Result<Vec<Receipt>, Failure> {
        let (fail, pool) = (|error| self.ledger.failure(error), &self.ledger.pool);
        let waiting = waiting(&self.config, pool, &[id]).await.map_err(fail)?;
        let mut found: Vec<Receipt> = command::receipts(pool, &[id], source).await.map_err(fail)?;
        for one in waiting.into_iter().filter(|one| source.is_none_or(|source| one.source == source)) {
            if found.iter().any(|receipt| receipt.source == one.source && !receipt.is_dead()) {
                continue;
            }
            found.retain(|receipt| receipt.source != one.source);
            found.push(Receipt::waiting(one, attempts_max(&self.config)));
        }
        Ok(found)
    }

    /// The last dead letter of a command, with the operator who redrove or discarded it.
    async fn letter(&self, dead: &Receipt) -> Result<Option<Letter>, Failure> {
        let place = (dead.topic.as_deref(), dead.partition, dead.offset);
        let group = self.config.namespace.group(COMMANDS);
        let letters = dead_letter::letters_of(&self.ledger.pool, &group, place).await;
        let letters = letters.map_err(|error| self.ledger.failure(error))?;
        let letter = |(id, status, who, why)| Letter { id, status, who, why };
        Ok(letters.into_iter().next_back().map(letter))
    }
}

/// Commands with these ids that are being retried, or wait behind one that is.
pub(crate) async fn waiting(config: &Config, write: &PgPool, ids: &[&str]) -> sqlx::Result<Vec<Waiting>> {
    parked::waiting(write, &group(config), &Which { ids: Some(ids), ..Which::default() }).await
}

fn group(config: &Config) -> millrace_store::Group {
    millrace_store::Group { id: config.namespace.group(COMMANDS), generation: 1 }
}

/// The first attempt, and one for each delay.
fn attempts_max(config: &Config) -> i32 {
    i32::try_from(config.retries.of(COMMANDS).len()).unwrap_or(i32::MAX).saturating_add(1)
}
