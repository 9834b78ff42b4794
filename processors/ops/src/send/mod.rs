//! Commands as JSON, sent to Kafka.

mod command;
mod deliveries;
mod in_order;
mod producer;
mod schema_ids;
mod single;
mod values;
mod wait;

use std::io::{self, BufRead};
use std::sync::Arc;
use std::time::Duration;

use millrace_engine::client::Property;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::config::Config;
use crate::failure::Failure;
use crate::listener::Listener;
use command::Outgoing;
use deliveries::Deliveries;
use producer::{IN_FLIGHT, Sender};
use schema_ids::SchemaIds;
use values::{Found, Values};
use wait::{Handed, Identity, Ledger, NAMED_MAX};

pub use command::{Command, Unfit};
pub use single::{Acknowledged, Encoder, Ready, SingleSender, Unsent};
pub use wait::{Failed, Outcomes};

/// The timeout for the acknowledgement of a command.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);
/// Properties for throughput, unless they are configured.
const CHOSEN: &[Property] = &[
    (&["linger.ms", "queue.buffering.max.ms"], "5"),
    (&["compression.type", "compression.codec"], "lz4"),
    IN_FLIGHT,
];

/// The source of commands that name none.
pub const SOURCE: &str = "millrace-send";

/// How commands are sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// The `ce_source` of commands that name none; [`SOURCE`] unless it is chosen.
    pub source: String,
    /// Wait until every command has its outcome, at most this long.
    pub wait: Option<Duration>,
}

/// The result.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Sent {
    /// The number that Kafka has acknowledged.
    #[serde(rename = "sent")]
    pub delivered: u64,
    /// The number that are not commands of this instance.
    pub refused: u64,
    /// The number that Kafka did not acknowledge.
    pub undelivered: u64,
    /// Their outcomes; `None` without waiting.
    #[serde(flatten)]
    pub outcomes: Option<Outcomes>,
    /// The first commands whose id was generated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub made_up: Vec<MadeUp>,
    /// The number of commands whose id was generated.
    #[serde(skip)]
    pub without_id: u64,
    /// The first commands that were not completed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Failed>,
}

impl Sent {
    /// The numbers of both; ids that were generated are left out.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let mut failed = self.failed;
        failed.extend(other.failed);
        failed.truncate(NAMED_MAX);
        let outcomes = match (self.outcomes, other.outcomes) {
            (Some(one), Some(another)) => Some(one.and(another)),
            (one, another) => one.or(another),
        };
        Self {
            delivered: self.delivered + other.delivered,
            refused: self.refused + other.refused,
            undelivered: self.undelivered + other.undelivered,
            outcomes,
            failed,
            ..Self::default()
        }
    }
}

/// A command whose id was generated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "MadeUpId")]
pub struct MadeUp {
    /// Its line in the input.
    pub line: u64,
    /// The short name of its type.
    #[serde(rename = "type")]
    pub name: &'static str,
    /// The id.
    pub id: String,
}

/// The result of a check.
#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Checked {
    /// The number that can be sent.
    pub good: u64,
    /// The number that are not commands of this instance.
    pub refused: u64,
}

/// Checks commands like [`send`] without sending them; the listener gets the line and the reason of every invalid one. Needs
/// neither Kafka nor the registry.
///
/// # Errors
/// When the input cannot be read.
pub fn check(config: &Config, input: impl BufRead, listener: &dyn Listener) -> Result<Checked, Failure> {
    let (ids, mut values, mut checked) = (SchemaIds::none(config), Values::new(input), Checked::default());
    while let Some(Found { line, value }) = values.next().map_err(unreadable)? {
        match value.and_then(|value| read(&value, SOURCE, &ids)) {
            Ok(_) => checked.good += 1,
            Err(reason) => {
                checked.refused += 1;
                listener.say(&format!("line {line}: {reason}"));
            }
        }
    }
    Ok(checked)
}

/// Reads a command; what is wrong with it is for people.
fn read(text: &RawValue, source: &str, ids: &SchemaIds) -> Result<Outgoing, String> {
    command::read(text, source, ids).map_err(|unfit| unfit.to_string())
}

fn unreadable(error: io::Error) -> Failure {
    Failure::refused("the input cannot be read").caused_by(error)
}

/// Sends every valid command of a stream of JSON objects; the listener gets the line and the reason of every invalid one.
///
/// # Errors
/// When the input cannot be read, a setting is wrong, or the registry, Kafka or the database does not answer. An invalid command
/// is counted, and is not an error.
pub async fn send(
    config: &Config,
    request: &Request,
    input: impl BufRead,
    listener: Arc<dyn Listener>,
) -> Result<Sent, Failure> {
    let ids = SchemaIds::load(config).await?;
    let ledger = match request.wait {
        Some(timeout) => Some((Ledger::open(config).await?, timeout)),
        None => None,
    };
    let mut sending = Sending::new(config, request, ids, listener.clone())?;
    tokio::task::block_in_place(|| sending.all(config, input))?;
    let (mut sent, handed) = sending.finish();
    if let Some((ledger, timeout)) = ledger {
        let (outcomes, failed) = wait::all(config, &ledger, &handed, timeout, &*listener).await?;
        (sent.outcomes, sent.failed) = (Some(outcomes), failed);
    }
    Ok(sent)
}

struct Sending<'r> {
    request: &'r Request,
    ids: SchemaIds,
    sender: Sender,
    deliveries: Arc<Deliveries>,
    listener: Arc<dyn Listener>,
    read: u64,
    sent: Sent,
    /// The sent commands, if their outcomes are waited for.
    handed: Vec<Handed>,
}

impl<'r> Sending<'r> {
    fn new(
        config: &Config,
        request: &'r Request,
        ids: SchemaIds,
        listener: Arc<dyn Listener>,
    ) -> Result<Self, Failure> {
        let sender = Sender::new(config, CHOSEN, DELIVERY_TIMEOUT)?;
        let deliveries = Deliveries::new(listener.clone());
        let (sent, handed) = (Sent::default(), Vec::new());
        Ok(Self { request, ids, sender, deliveries, listener, read: 0, sent, handed })
    }

    fn all(&mut self, config: &Config, input: impl BufRead) -> Result<(), Failure> {
        self.sender.ask(config)?;
        let mut values = Values::new(input);
        while let Some(found) = values.next().map_err(unreadable)? {
            self.one(found);
            self.read += 1;
            self.listener.count("sent", self.read);
        }
        self.sender.flush()
    }

    fn one(&mut self, Found { line, value }: Found) {
        match value.and_then(|value| read(&value, &self.request.source, &self.ids)) {
            Ok(outgoing) => self.hand_over(line, outgoing),
            Err(reason) => {
                self.sent.refused += 1;
                self.listener.say(&format!("line {line}: {reason}"));
            }
        }
    }

    fn hand_over(&mut self, line: u64, outgoing: Outgoing) {
        self.deliveries.send(&self.sender, line, &outgoing, DELIVERY_TIMEOUT * 2);
        let Outgoing { definition, id, source, is_id_made_up, .. } = outgoing;
        if is_id_made_up {
            self.sent.without_id += 1;
        }
        if is_id_made_up && self.sent.made_up.len() < NAMED_MAX {
            self.sent.made_up.push(MadeUp { line, name: definition.name, id: id.clone() });
        }
        if self.request.wait.is_some() {
            self.handed.push(Handed { line, identity: Identity { source: source.into(), id: id.into() } });
        }
    }

    fn finish(self) -> (Sent, Vec<Handed>) {
        self.listener.counted();
        let (delivered, undelivered) = self.deliveries.counts();
        (Sent { delivered, undelivered, ..self.sent }, self.handed)
    }
}
