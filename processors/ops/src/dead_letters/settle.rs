//! Redriving and discarding letters, each in a separate transaction.

use std::time::Duration;

use millrace_engine::{Backoff, envelope};
use millrace_store::dead_letter;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Interval, MissedTickBehavior};
use uuid::Uuid;

use super::id::Id;
use super::letter::{Letter, Status};
use super::work::{Choice, DeadLetters, LetterError, Work};
use crate::audit::Operator;
use crate::config::Config;
use crate::failure::Failure;
use crate::listener::Listener;

/// Attempts at a letter whose key is locked by another transaction.
const TRIES_MAX: usize = 10;

/// What to do with letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Give their records to their groups again, with all their attempts.
    Redrive,
    /// Give them up.
    Discard,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Verb::Redrive => "redrive",
            Verb::Discard => "discard",
        }
    }

    /// The status of a letter afterwards.
    pub fn done(self) -> Status {
        match self {
            Verb::Redrive => Status::Redriven,
            Verb::Discard => Status::Discarded,
        }
    }
}

/// A request to redrive or discard letters.
#[derive(Debug)]
pub struct Order {
    /// What is done.
    pub verb: Verb,
    /// The letters.
    pub choice: Choice,
    /// Who does it, and why.
    pub operator: Operator,
    /// Letters per second, at most; `None` for no limit.
    pub rate: Option<u32>,
}

/// The result.
#[derive(Debug, Default)]
pub struct Counts {
    /// Redriven or discarded now.
    pub now: u64,
    /// Redriven or discarded before, or by another operator meanwhile.
    pub before: u64,
    /// Those that could not be.
    pub refused: Vec<Refusal>,
}

/// A letter that could not be redriven or discarded.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RefusedLetter")]
pub struct Refusal {
    /// Its id.
    pub id: Id,
    /// Why.
    pub reason: String,
}

/// Redrives or discards the chosen letters; `counts` has what was done, also after an error.
///
/// # Errors
/// [`Failure::NotFound`] when there is no such letter; when a component does not answer. A letter that cannot be settled is not
/// an error, and the others are settled.
pub async fn settle(
    config: &Config,
    Order { verb, choice, operator, rate }: Order,
    listener: &dyn Listener,
    counts: &mut Counts,
) -> Result<(), Failure> {
    let all = DeadLetters::new(config)?;
    let letters = all.chosen(&choice, listener).await?;
    Settling { all, verb, operator, listener, counts }.all(&letters, rate).await
}

/// The result for a letter.
enum Did {
    Now,
    /// Settled before, or by another operator.
    Before,
}

struct Settling<'s> {
    all: DeadLetters<'s>,
    verb: Verb,
    operator: Operator,
    listener: &'s dyn Listener,
    counts: &'s mut Counts,
}

impl Settling<'_> {
    async fn all(&mut self, letters: &[Letter], rate: Option<u32>) -> Result<(), Failure> {
        let mut pace = rate.map(pace);
        for (count, letter) in (1..).zip(letters) {
            if let Some(pace) = &mut pace {
                pace.tick().await;
            }
            match self.one(letter).await {
                Ok(Did::Now) => self.counts.now += 1,
                Ok(Did::Before) => self.counts.before += 1,
                Err(LetterError::Failed(failure)) => return Err(failure),
                Err(LetterError::Contended) => {
                    self.refuse(letter, "its key is in use: try again".to_owned());
                }
                Err(LetterError::Refused(reason)) => self.refuse(letter, reason),
            }
            self.listener.count(self.verb.done().as_str(), count);
        }
        self.listener.counted();
        Ok(())
    }

    fn refuse(&mut self, letter: &Letter, reason: String) {
        self.listener.say(&format!("{}: {reason}", letter.id));
        self.counts.refused.push(Refusal { id: letter.id, reason });
    }

    async fn one(&self, letter: &Letter) -> Result<Did, LetterError> {
        if letter.status != "dead" {
            return Ok(Did::Before);
        }
        let work = self.work(letter)?;
        let mut contention = Backoff::after_contention();
        for _ in 1..TRIES_MAX {
            match self.attempt(letter, work.as_ref()).await {
                Err(LetterError::Contended) => contention.wait().await,
                other => return other,
            }
        }
        self.attempt(letter, work.as_ref()).await
    }

    /// The record and the role of a letter; `None` for a letter without a record, behind which nothing waits.
    fn work(&self, letter: &Letter) -> Result<Option<Work>, LetterError> {
        if letter.is_of_a_document() {
            return Ok(None);
        }
        let work = match self.all.work(letter) {
            // Its record is only needed to release the records that wait behind it.
            Err(LetterError::Refused(_)) if self.verb == Verb::Discard && self.all.passes_over(letter) => {
                return Ok(None);
            }
            work => work?,
        };
        if work.retries.delays.is_empty() && self.verb == Verb::Redrive {
            let reason =
                format!("{} has no retry topic to redrive over: configure retry delays", letter.group);
            return Err(LetterError::Refused(reason));
        }
        Ok(Some(work))
    }

    async fn attempt(&self, letter: &Letter, work: Option<&Work>) -> Result<Did, LetterError> {
        let database = self.all.tables.side(letter.id.side);
        let fail = |error| LetterError::Failed(database.failure(error));
        let mut transaction = database.pool.begin().await.map_err(fail)?;
        if !dead_letter::mark(&mut transaction, letter.id.row, self.verb.done().as_str())
            .await
            .map_err(fail)?
        {
            return Ok(Did::Before);
        }
        let blocks = match work {
            Some(work) => self.effect(letter, work, &mut transaction).await?,
            None if self.verb == Verb::Redrive => self.all.publish(letter).await.map(|()| false)?,
            None => false,
        };
        let details = details(letter, work);
        let subject = letter.id.to_string();
        let signed = self.operator.sign(&mut transaction, self.verb.name(), &subject, &details).await;
        signed.map_err(fail)?;
        transaction.commit().await.map_err(fail)?;
        tracing::info!(letter = subject, %details, "{}", self.verb.done().as_str());
        if let Some(Work { retries, record }) = work.filter(|_| blocks) {
            retries.wake(record).await.map_err(|error| self.all.letter_error(letter.id.side, error))?;
        }
        Ok(Did::Now)
    }

    /// True when the record blocks its key and must be woken.
    async fn effect(
        &self,
        letter: &Letter,
        Work { retries, record }: &Work,
        connection: &mut sqlx::PgConnection,
    ) -> Result<bool, LetterError> {
        let effect = match self.verb {
            Verb::Redrive => retries.redrive(connection, record).await,
            Verb::Discard => retries.discard(connection, record).await.map(|()| false),
        };
        effect.map_err(|error| self.all.letter_error(letter.id.side, error))
    }
}

fn pace(rate: u32) -> Interval {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

/// Details for the audit. The operator's action has its own trace; the record keeps its original one.
fn details(letter: &Letter, work: Option<&Work>) -> Value {
    let linked = work.and_then(|work| work.record.header(envelope::TRACEPARENT));
    json!({
        "group": letter.group, "topic": letter.topic, "partition": letter.partition, "offset": letter.offset,
        "key": letter.key, "code": letter.code, "trace": Uuid::now_v7().simple().to_string(), "linked_trace": linked,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples;

    #[test]
    fn the_audit_says_which_record_it_was() {
        let details = details(&examples::letter(), None);
        assert_eq!((&details["offset"], &details["key"]), (&json!(42), &json!("10248")));
        assert_eq!(details["trace"].as_str().map(str::len), Some(32));
    }
}
