//! Waiting until every command has its outcome.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use millrace_store::command;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;
use crate::listener::Listener;
use crate::postgres::Database;
use crate::receipts;

/// Identities of one query.
const ASKED_AT_ONCE: usize = 5_000;
const ASK_EVERY: Duration = Duration::from_millis(200);
/// The status of a command whose events are written.
const COMPLETED: &str = "completed";

/// Commands that were not completed and are named; further ones are only counted.
pub(super) const NAMED_MAX: usize = 10;

/// The identity of a command, for deduplication.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) source: Box<str>,
    pub(super) id: Box<str>,
}

/// A sent command.
#[derive(Debug)]
pub(super) struct Handed {
    /// Its line in the input.
    pub(super) line: u64,
    pub(super) identity: Identity,
}

/// A command that was not completed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "FailedCommand")]
pub struct Failed {
    /// Its line in the input.
    pub line: u64,
    /// Its id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// `rejected` or `dead`.
    pub status: String,
    /// Why, for programs.
    pub code: Option<String>,
    /// Why, for people.
    pub message: Option<String>,
}

/// The numbers of commands by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Outcomes {
    /// Decided; their events are written.
    pub completed: u64,
    /// Refused by the business.
    pub rejected: u64,
    /// Dead letters.
    pub dead: u64,
    /// Without an outcome yet.
    pub waiting: u64,
    /// Of those, being retried or waiting behind one that is.
    pub retrying: u64,
}

impl Outcomes {
    /// The numbers of both.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            completed: self.completed + other.completed,
            rejected: self.rejected + other.rejected,
            dead: self.dead + other.dead,
            waiting: self.waiting + other.waiting,
            retrying: self.retrying + other.retrying,
        }
    }

    fn count(&mut self, status: &str) {
        match status {
            COMPLETED => self.completed += 1,
            "rejected" => self.rejected += 1,
            _ => self.dead += 1,
        }
    }

    fn ended(&self) -> u64 {
        self.completed + self.rejected + self.dead
    }
}

/// The ledger, and the database's time before the first command was sent.
pub(super) struct Ledger {
    database: Database,
    begun: DateTime<Utc>,
}

impl Ledger {
    /// Reads the time of the database's clock.
    pub(super) async fn open(config: &Config) -> Result<Self, Failure> {
        let database = Database::of(config, Side::Write)?;
        // The query names the table, so that a missing `setup` is an error before anything is sent.
        let begun = command::clock(&database.pool).await.map_err(|error| database.failure(error))?;
        Ok(Self { database, begun })
    }
}

/// Queries the ledger until every command has an outcome, or time is up; names the first that were not completed. A command that
/// was sent twice counts once.
pub(super) async fn all(
    config: &Config,
    ledger: &Ledger,
    sent: &[Handed],
    timeout: Duration,
    listener: &dyn Listener,
) -> Result<(Outcomes, Vec<Failed>), Failure> {
    let mut seen = HashSet::new();
    let mut waiting: Vec<&Handed> = sent.iter().filter(|handed| seen.insert(&handed.identity)).collect();
    let (mut outcomes, until) = (Outcomes::default(), Instant::now() + timeout);
    let mut failed = Vec::new();
    while !waiting.is_empty() {
        // Queries only the first ones; the next ones once these are decided.
        let later = waiting.split_off(waiting.len().min(ASKED_AT_ONCE));
        let decided = decided(ledger, &waiting).await?;
        failed.extend(waiting.iter().filter_map(|handed| handed.failed(&decided)));
        waiting.retain(|handed| !decided.contains_key(&handed.identity));
        decided.values().for_each(|(status, ..)| outcomes.count(status));
        failed.truncate(NAMED_MAX);
        let all_decided = waiting.is_empty();
        waiting.extend(later);
        listener.count("decided", outcomes.ended());
        if Instant::now() > until {
            break;
        }
        if !all_decided {
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
    listener.counted();
    outcomes.waiting = waiting.len() as u64;
    outcomes.retrying = retrying(config, ledger, &waiting).await?;
    failed.sort_by_key(|failed| failed.line);
    Ok((outcomes, failed))
}

impl Handed {
    fn failed(&self, decided: &Decided) -> Option<Failed> {
        let (status, code, message) = decided.get(&self.identity)?.clone();
        let Identity { source, id } = &self.identity;
        let (line, id, source) = (self.line, id.to_string(), source.to_string());
        (status != COMPLETED).then_some(Failed { line, id, source, status, code, message })
    }
}

/// The number of commands that are being retried, or wait behind one that is.
async fn retrying(config: &Config, ledger: &Ledger, waiting: &[&Handed]) -> Result<u64, Failure> {
    let mut count = 0;
    for asked in waiting.chunks(ASKED_AT_ONCE) {
        let ids: Vec<&str> = asked.iter().map(|handed| &*handed.identity.id).collect();
        let found = receipts::waiting(config, &ledger.database.pool, &ids).await;
        let found: HashSet<Identity> = found
            .map_err(|error| ledger.database.failure(error))?
            .into_iter()
            .map(|one| Identity { source: one.source.into(), id: one.id.into() })
            .collect();
        count += asked.iter().filter(|handed| found.contains(&handed.identity)).count() as u64;
    }
    Ok(count)
}

/// Status, code and message of commands that have an outcome; code and message only of those that were not completed.
type Decided = HashMap<Identity, (String, Option<String>, Option<String>)>;

/// The outcomes of these commands in the ledger. A dead-lettered command may be sent again, so an earlier dead letter is not an
/// outcome.
async fn decided(ledger: &Ledger, asked: &[&Handed]) -> Result<Decided, Failure> {
    let ids: Vec<&str> = asked.iter().map(|handed| &*handed.identity.id).collect();
    let sources: Vec<&str> = asked.iter().map(|handed| &*handed.identity.source).collect();
    let database = &ledger.database;
    let rows = command::ended_since(&database.pool, (sources, ids), ledger.begun).await;
    let rows = rows.map_err(|error| database.failure(error))?;
    let entry = |(source, id, status, code, message): command::Ended| {
        (Identity { source: source.into(), id: id.into() }, (status, code, message))
    };
    Ok(rows.into_iter().map(entry).collect())
}
