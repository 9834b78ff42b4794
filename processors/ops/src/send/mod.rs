//! Commands as JSON, sent to Kafka.

mod command;
mod producer;
mod values;
mod wait;

use std::io::{self, BufRead};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::config::Config;
use crate::failure::Failure;
use crate::listener::Listener;
use command::{Outgoing, SchemaIds};
use producer::Sender;
use values::{Found, Values};
use wait::{Identity, Ledger};

pub use wait::Outcomes;

/// How commands are sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// The `ce_source` of commands that name none.
    pub source: String,
    /// Wait until every command has its outcome, at most this long.
    pub wait: Option<Duration>,
}

/// What became of the commands.
#[derive(Debug, Default, Serialize)]
pub struct Sent {
    /// Kafka has them.
    #[serde(rename = "sent")]
    pub delivered: u64,
    /// They are not commands that this instance takes.
    pub refused: u64,
    /// Kafka did not take them.
    pub undelivered: u64,
    /// How they ended; `None` when that was not waited for.
    #[serde(flatten)]
    pub outcomes: Option<Outcomes>,
}

/// Sends every good command of a stream of JSON objects; the listener gets the line and the reason of every bad one.
///
/// # Errors
/// When the input cannot be read, a setting is wrong, or the registry, Kafka or the database does not answer. What is wrong
/// with a command is no error: it is counted.
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
    tokio::task::block_in_place(|| sending.all(input))?;
    let (mut sent, identities) = sending.finish();
    if let Some((ledger, timeout)) = ledger {
        sent.outcomes = Some(wait::all(config, &ledger, &identities, timeout, &*listener).await?);
    }
    Ok(sent)
}

struct Sending<'r> {
    request: &'r Request,
    ids: SchemaIds,
    sender: Sender,
    listener: Arc<dyn Listener>,
    read: u64,
    refused: u64,
    /// Of what was sent; only when it is waited for.
    identities: Vec<Identity>,
}

impl<'r> Sending<'r> {
    fn new(
        config: &Config,
        request: &'r Request,
        ids: SchemaIds,
        listener: Arc<dyn Listener>,
    ) -> Result<Self, Failure> {
        let sender = Sender::new(config, listener.clone())?;
        Ok(Self { request, ids, sender, listener, read: 0, refused: 0, identities: Vec::new() })
    }

    fn all(&mut self, input: impl BufRead) -> Result<(), Failure> {
        let unreadable = |error: io::Error| Failure::refused("the input cannot be read").caused_by(error);
        let mut values = Values::new(input);
        while let Some(found) = values.next().map_err(unreadable)? {
            self.one(found);
            self.read += 1;
            self.listener.count("sent", self.read);
        }
        self.sender.flush()
    }

    fn one(&mut self, Found { line, value }: Found) {
        match value.and_then(|value| command::read(&value, &self.request.source, &self.ids)) {
            Ok(outgoing) => self.hand_over(line, outgoing),
            Err(reason) => {
                self.refused += 1;
                self.listener.say(&format!("line {line}: {reason}"));
            }
        }
    }

    fn hand_over(&mut self, line: u64, outgoing: Outgoing) {
        self.sender.send(line, &outgoing);
        if self.request.wait.is_some() {
            self.identities.push(Identity { source: outgoing.source.into(), id: outgoing.id.into() });
        }
    }

    fn finish(self) -> (Sent, Vec<Identity>) {
        self.listener.counted();
        let (delivered, undelivered) = self.sender.counts();
        (Sent { delivered, refused: self.refused, undelivered, outcomes: None }, self.identities)
    }
}
