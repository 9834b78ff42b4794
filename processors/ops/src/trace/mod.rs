//! What followed from a command, an event, or the events of a stream: decisions, events, steps of sagas, calls, views.

mod entries;
mod start;
mod views;
mod walk;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use millrace_store::dead_letter::First;
use schemars::JsonSchema;
use serde::Serialize;
use serde_with::serde_as;

use crate::audit;
use crate::config::Config;
use crate::dead_letters::{self, Letter};
use crate::failure::Failure;
use crate::layout::Side;
use crate::moment::Written;
use crate::postgres::Database;
use crate::retries::{self, Waiting};
pub use views::Viewed;
use walk::Walked;

/// Rows of the outbox that are followed, at most; also steps, calls, and other lists.
const MOST: i64 = 500;
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[schemars(rename = "TraceKind")]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A command.
    Command,
    /// An event.
    Event,
    /// The rejection of a command.
    Rejection,
    /// The outcome of a command.
    Outcome,
    /// A step of a saga.
    Step,
    /// A call to an external system.
    Call,
}

/// Something that happened.
#[serde_as]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "TraceEntry")]
pub struct Entry {
    /// When: a command was received, or sent by a saga or an effect; a record was written, a step taken, a call requested. By the
    /// clock of the write side, and not before its cause.
    #[serde_as(as = "Written")]
    #[schemars(with = "Written")]
    pub at: DateTime<Utc>,
    /// Its kind.
    pub kind: Kind,
    /// Its id: `ce_id`, the saga's instance, or the call's key.
    pub id: String,
    /// The full name of the record's type; the input of a step; the effect of a call.
    pub what: String,
    /// The stream, as `context/id`; empty for a step.
    pub stream: String,
    /// An event's version; the number of a step; the attempts at a call.
    pub number: Option<i64>,
    /// The id of what led to it.
    pub cause: Option<String>,
    /// What became of it, for people.
    pub became: String,
    /// Whether nothing more is expected of it.
    pub ended: bool,
}

/// What followed from a start.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Trace {
    /// In the order of time.
    pub entries: Vec<Entry>,
    /// Whether there is more than is shown.
    pub more: bool,
    /// The instances of sagas that go on by themselves: saga, instance and standing.
    pub under_way: Vec<String>,
    /// The views of these events.
    pub views: Vec<Viewed>,
    /// Keys of these streams whose records wait.
    pub waiting: Vec<Waiting>,
    /// Dead letters of these streams, the newest first.
    pub letters: Vec<Letter>,
    /// What operators did to these streams, instances and letters, the newest first.
    pub audit: Vec<audit::Entry>,
    /// Why a part of this is missing: what could not be asked.
    pub unknown: Vec<String>,
}

impl Trace {
    /// Whether nothing goes on by itself any more, and every view has applied and published the events.
    pub fn is_settled(&self) -> bool {
        self.unknown.is_empty()
            && self.entries.iter().all(|entry| entry.ended)
            && self.under_way.is_empty()
            && self.views.iter().all(Viewed::is_level)
            && self.waiting.iter().all(|key| key.status != "retrying")
    }
}

/// What followed from a start: `context/id` of a stream, the id of a stream in any context, of a command, or of an event.
///
/// # Errors
/// [`Failure::NotFound`] when nothing has the id; when the write database or Kafka does not answer.
pub async fn trace(config: &Config, start: &str) -> Result<Trace, Failure> {
    let (write, read) = (Database::of(config, Side::Write)?, Database::of(config, Side::Read)?);
    let start = start::find(config, &write, start).await?;
    let walked = walk::from(config, &write, start).await?;
    let (keys, mut unknown) = (walked.stream_ids(), Unknown::default());
    let views = unknown.unless(views::of(config, &read, &walked).await);
    let waiting = unknown.unless(waiting(config, &keys).await);
    let letters = unknown.unless(letters(config, &keys).await);
    let audit = unknown.unless(audited(config, &walked, &letters).await);
    let (more, under_way) = (walked.more, walked.under_way.clone());
    let (entries, unknown) = (entries::of(config, walked), unknown.0.into_iter().collect());
    Ok(Trace { entries, more, under_way, views, waiting, letters, audit, unknown })
}

/// What could not be asked: the write side is shown without the read side.
#[derive(Default)]
struct Unknown(BTreeSet<String>);

impl Unknown {
    fn unless<T>(&mut self, asked: Result<Vec<T>, Failure>) -> Vec<T> {
        asked.unwrap_or_else(|failure| {
            self.0.insert(failure.to_string());
            Vec::new()
        })
    }
}

/// The same, as soon as it is settled.
///
/// # Errors
/// As [`trace()`]; [`Failure::Refused`] when it is not settled in time.
pub async fn settled(config: &Config, start: &str, timeout: Duration) -> Result<Trace, Failure> {
    let until = Instant::now() + timeout;
    loop {
        let traced = trace(config, start).await?;
        if traced.is_settled() {
            return Ok(traced);
        }
        if Instant::now() > until {
            let seconds = timeout.as_secs();
            return Err(Failure::refused(format!(
                "{start} is not settled after {seconds} s: `millrace trace {start}`"
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn waiting(config: &Config, keys: &BTreeSet<String>) -> Result<Vec<Waiting>, Failure> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let filters = retries::Filters { keys: keys.iter().cloned().collect(), ..retries::Filters::default() };
    Ok(retries::list(config, &filters, MOST).await?.rows)
}

async fn letters(config: &Config, keys: &BTreeSet<String>) -> Result<Vec<Letter>, Failure> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let filters =
        dead_letters::Filters { keys: keys.iter().cloned().collect(), ..dead_letters::Filters::default() };
    dead_letters::Tables::of(config)?.fitting(&filters, None, First::Newest, MOST).await
}

async fn audited(config: &Config, walked: &Walked, letters: &[Letter]) -> Result<Vec<audit::Entry>, Failure> {
    let letters = letters.iter().map(|letter| letter.id.to_string());
    let instances = walked.instances().into_iter().map(|(saga, instance)| format!("{saga}/{instance}"));
    let subjects: Vec<String> = letters.chain(instances).collect();
    if subjects.is_empty() {
        return Ok(Vec::new());
    }
    let filters = audit::Filters { subjects, ..audit::Filters::default() };
    Ok(audit::list(config, &filters, MOST).await?.rows)
}
