//! `millrace dlq redrive` and `millrace dlq discard`: each letter in a transaction of its own.

use std::time::Duration;

use millrace_engine::{Backoff, envelope};
use millrace_ops::audit::Operator;
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_store::dead_letter;
use serde_json::{Value, json};
use tokio::time::{Interval, MissedTickBehavior};
use uuid::Uuid;

use super::cli::Which;
use super::desk::{Desk, Setback, Work};
use super::id::Id;
use super::letter::Letter;
use crate::output::{self, Format};
use crate::progress::Progress;

/// A letter whose key is in use is tried this often.
const TRIES_MAX: usize = 10;

/// What to do with letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Redrive,
    Discard,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Verb::Redrive => "redrive",
            Verb::Discard => "discard",
        }
    }

    /// What a letter is afterwards.
    fn done(self) -> &'static str {
        match self {
            Verb::Redrive => "redriven",
            Verb::Discard => "discarded",
        }
    }
}

/// What was asked for.
pub(super) struct Order<'o> {
    pub(super) verb: Verb,
    pub(super) which: &'o Which,
    pub(super) why: &'o str,
    /// Letters a second, at most.
    pub(super) rate: Option<u32>,
}

/// Redrives or discards the chosen letters.
pub(super) async fn settle(config: &Config, format: Format, order: &Order<'_>) -> Result<(), Failure> {
    let desk = Desk::new(config)?;
    let letters = desk.chosen(order.which).await?;
    let operator = Operator::new(order.which.who.as_deref(), order.why);
    let mut settling = Settling { desk, verb: order.verb, operator, counts: Counts::default() };
    let outcome = settling.all(&letters, order.rate).await;
    settling.counts.print(format, order.verb)?;
    outcome?;
    settling.counts.verdict(order.verb)
}

/// What became of a letter.
enum Did {
    Now,
    /// By somebody else, or earlier.
    Before,
}

/// What became of the letters.
#[derive(Debug, Default)]
struct Counts {
    now: u64,
    before: u64,
    refused: Vec<(Id, String)>,
}

struct Settling<'c> {
    desk: Desk<'c>,
    verb: Verb,
    operator: Operator,
    counts: Counts,
}

impl Settling<'_> {
    async fn all(&mut self, letters: &[Letter], rate: Option<u32>) -> Result<(), Failure> {
        let (mut progress, mut pace) = (Progress::new(self.verb.done()), rate.map(pace));
        for (count, letter) in (1..).zip(letters) {
            if let Some(pace) = &mut pace {
                pace.tick().await;
            }
            match self.one(letter).await {
                Ok(Did::Now) => self.counts.now += 1,
                Ok(Did::Before) => self.counts.before += 1,
                Err(Setback::Failed(failure)) => return Err(failure),
                Err(Setback::Contended) => {
                    self.refuse(letter, "its key is in use: try again".to_owned(), &progress)
                }
                Err(Setback::Refused(reason)) => self.refuse(letter, reason, &progress),
            }
            progress.at(count);
        }
        progress.done();
        Ok(())
    }

    fn refuse(&mut self, letter: &Letter, reason: String, progress: &Progress) {
        progress.say(&format!("{}: {reason}", letter.id));
        self.counts.refused.push((letter.id, reason));
    }

    async fn one(&self, letter: &Letter) -> Result<Did, Setback> {
        if letter.status != "dead" {
            return Ok(Did::Before);
        }
        let work = self.work(letter)?;
        let mut contention = Backoff::after_contention();
        for _ in 1..TRIES_MAX {
            match self.attempt(letter, work.as_ref()).await {
                Err(Setback::Contended) => contention.wait().await,
                other => return other,
            }
        }
        self.attempt(letter, work.as_ref()).await
    }

    /// Nothing waits for a letter without record.
    fn work(&self, letter: &Letter) -> Result<Option<Work>, Setback> {
        if letter.is_of_a_document() {
            return Ok(None);
        }
        let work = match self.desk.work(letter) {
            // Without its record only what waits behind it could not go on.
            Err(Setback::Refused(_)) if self.verb == Verb::Discard && self.desk.passes_over(letter) => {
                return Ok(None);
            }
            work => work?,
        };
        if work.retries.delays.is_empty() && self.verb == Verb::Redrive {
            let reason =
                format!("{} has no retry topic to redrive over: configure retry delays", letter.group);
            return Err(Setback::Refused(reason));
        }
        Ok(Some(work))
    }

    async fn attempt(&self, letter: &Letter, work: Option<&Work>) -> Result<Did, Setback> {
        let database = self.desk.ledgers.side(letter.id.side);
        let fail = |error| Setback::Failed(database.failure(error));
        let mut transaction = database.pool.begin().await.map_err(fail)?;
        if !dead_letter::mark(&mut transaction, letter.id.row, self.verb.done()).await.map_err(fail)? {
            return Ok(Did::Before);
        }
        let head = match work {
            Some(work) => self.effect(letter, work, &mut transaction).await?,
            None if self.verb == Verb::Redrive => self.desk.publish(letter).await.map(|()| false)?,
            None => false,
        };
        let details = details(letter, work);
        let subject = letter.id.to_string();
        let signed = self.operator.sign(&mut transaction, self.verb.name(), &subject, &details).await;
        signed.map_err(fail)?;
        transaction.commit().await.map_err(fail)?;
        tracing::info!(letter = subject, %details, "{}", self.verb.done());
        if let Some(Work { retries, record }) = work.filter(|_| head) {
            retries.wake(record).await.map_err(|error| self.desk.setback(letter.id.side, error))?;
        }
        Ok(Did::Now)
    }

    /// True when the record is the head of its key, to be woken.
    async fn effect(
        &self,
        letter: &Letter,
        Work { retries, record }: &Work,
        connection: &mut sqlx::PgConnection,
    ) -> Result<bool, Setback> {
        let effect = match self.verb {
            Verb::Redrive => retries.redrive(connection, record).await,
            Verb::Discard => retries.discard(connection, record).await.map(|()| false),
        };
        effect.map_err(|error| self.desk.setback(letter.id.side, error))
    }
}

fn pace(rate: u32) -> Interval {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

/// A trace of its own for what the operator does; the record keeps the one that it came with.
fn details(letter: &Letter, work: Option<&Work>) -> Value {
    let linked = work.and_then(|work| work.record.header(envelope::TRACEPARENT));
    json!({
        "group": letter.group, "topic": letter.topic, "partition": letter.partition, "offset": letter.offset,
        "key": letter.key, "code": letter.code, "trace": Uuid::now_v7().simple().to_string(), "linked_trace": linked,
    })
}

impl Counts {
    fn print(&self, format: Format, verb: Verb) -> Result<(), Failure> {
        let Self { now, before, refused } = self;
        let text = format!("{} {now}, already done {before}, refused {}\n", verb.done(), refused.len());
        let reason = |(id, reason): &(Id, String)| json!({"id": id, "reason": reason});
        let refused: Vec<Value> = refused.iter().map(reason).collect();
        output::print(format, &text, &json!({verb.done(): now, "already": before, "refused": refused}))
    }

    fn verdict(&self, verb: Verb) -> Result<(), Failure> {
        match self.refused.len() {
            0 => Ok(()),
            count => Err(Failure::refused(format!("{count} letters were not {}", verb.done()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlq::letter::example;

    #[test]
    fn one_refusal_is_a_failure_and_what_was_done_before_is_none() {
        let counts = Counts { now: 3, before: 2, refused: Vec::new() };
        assert!(counts.verdict(Verb::Redrive).is_ok());
        let refused = vec![(example().id, "no record".to_owned())];
        let message = Counts { refused, ..counts }.verdict(Verb::Discard).unwrap_err().to_string();
        assert_eq!(message, "1 letters were not discarded");
    }

    #[test]
    fn the_audit_says_which_record_it_was() {
        let details = details(&example(), None);
        assert_eq!((&details["offset"], &details["key"]), (&json!(42), &json!("10248")));
        assert_eq!(details["trace"].as_str().map(str::len), Some(32));
    }
}
