//! Commands whose sender waits for Kafka's acknowledgement of each: one alone, or several.

use std::time::Duration;

use millrace_engine::client::Property;
use millrace_engine::commands::is_content;
use millrace_schemas::{Definition, unframe};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::{OnceCell, oneshot};

use super::command::{self, Command, Outgoing, Unfit};
use super::in_order::{Handed, in_order};
use super::producer::{Delivered, IN_FLIGHT, Sender};
use super::schema_ids::SchemaIds;
use crate::config::Config;
use crate::failure::{Failure, Service};
use crate::kafka;

/// The timeout for the acknowledgement of a command, and for the registry.
const WITHIN: Duration = Duration::from_secs(4);
/// Properties for low latency, unless they are configured.
const CHOSEN: &[Property] = &[(&["linger.ms", "queue.buffering.max.ms"], "0"), IN_FLIGHT];

/// Sends commands of requests as [`send`](super::send) sends a stream of them: with the same checks, schemas, headers and partitions.
pub struct SingleSender {
    config: Config,
    /// Loaded when first needed, since the registry may be away at the start.
    ids: OnceCell<SchemaIds>,
    sender: Sender,
}

/// Makes commands ready for Kafka.
#[derive(Debug, Clone, Copy)]
pub struct Encoder<'s>(&'s SchemaIds);

/// A command that fits its schema.
#[derive(Debug)]
pub struct Ready(Outgoing);

/// A command that Kafka has acknowledged.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    /// The partition of its topic.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    definition: &'static Definition,
    value: Vec<u8>,
}

/// Why a command was not sent.
#[derive(Debug)]
pub enum Unsent {
    /// It is not a command of this instance. Nothing was sent.
    Unfit(Unfit),
    /// Kafka takes no record of this size. Nothing was sent.
    TooLarge,
    /// Kafka or the registry did not answer in time. It may have been sent nevertheless: sent again with the same identity it has
    /// its effect once.
    Unavailable(Failure),
}

impl SingleSender {
    /// A producer that connects when first used.
    ///
    /// # Errors
    /// [`Failure::Usage`] when the client refuses a property.
    pub fn new(config: &Config) -> Result<Self, Failure> {
        let sender = Sender::new(config, CHOSEN, WITHIN)?;
        Ok(Self { config: config.clone(), ids: OnceCell::new(), sender })
    }

    /// Checks a command, sends it, and waits until Kafka has acknowledged it.
    ///
    /// # Errors
    /// See [`Unsent`].
    pub async fn send(&self, command: Command) -> Result<Acknowledged, Unsent> {
        let encoder = self.encoder().await.map_err(Unsent::Unavailable)?;
        let ready = encoder.ready(command).map_err(Unsent::Unfit)?;
        let delivered = match self.handed_over(&ready) {
            Ok(told) => told.await.unwrap_or(Err(KafkaError::Canceled)),
            Err(error) => Err(error),
        };
        self.acknowledged(ready, delivered)
    }

    /// Encodes commands with the registry's schema ids.
    ///
    /// # Errors
    /// When the registry does not answer in time.
    pub async fn encoder(&self) -> Result<Encoder<'_>, Failure> {
        self.ids().await.map(Encoder)
    }

    /// Sends commands in this order, and waits until Kafka has acknowledged or refused each. Behind one that it does not take, no
    /// further ones are handed to the client; of those that were, each is given up by its own time, so that a later one may be taken.
    /// Nor are they once the time `is_over`.
    pub async fn send_all(
        &self,
        commands: Vec<Ready>,
        is_over: impl Fn() -> bool,
    ) -> Vec<Result<Acknowledged, Unsent>> {
        let ended = in_order(commands, is_over, |ready| self.handed_over(ready)).await;
        ended.into_iter().map(|(ready, delivered)| self.acknowledged(ready, delivered)).collect()
    }

    /// Whether Kafka takes a command of this size.
    ///
    /// # Errors
    /// [`Unsent::TooLarge`].
    pub fn fits(&self, Ready(outgoing): &Ready) -> Result<(), Unsent> {
        if self.sender.takes(outgoing) { Ok(()) } else { Err(Unsent::TooLarge) }
    }

    async fn ids(&self) -> Result<&SchemaIds, Failure> {
        let loaded = self.ids.get_or_try_init(async || SchemaIds::load(&self.config).await?.complete());
        let silent = |_| {
            let reason = "there was no answer in time";
            Failure::unreachable(Service::Registry, &self.config.registry.url, reason)
        };
        tokio::time::timeout(WITHIN, loaded).await.map_err(silent).flatten()
    }

    /// Hands a command to the client, which tells what became of it.
    fn handed_over(&self, Ready(outgoing): &Ready) -> Handed {
        let (told, delivered) = oneshot::channel();
        // A caller that has gone does not ask any more.
        let told = move |said: Delivered| drop(told.send(said));
        self.sender.send(outgoing, Box::new(told)).map_err(|(error, _)| error)?;
        Ok(delivered)
    }

    fn acknowledged(
        &self,
        Ready(Outgoing { definition, value, .. }): Ready,
        delivered: Delivered,
    ) -> Result<Acknowledged, Unsent> {
        let (partition, offset) = delivered.map_err(|error| self.unsent(&error))?;
        Ok(Acknowledged { partition, offset, definition, value })
    }

    fn unsent(&self, error: &KafkaError) -> Unsent {
        match error {
            KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge) => Unsent::TooLarge,
            error => Unsent::Unavailable(kafka::failure(&self.config.kafka, error)),
        }
    }
}

impl Encoder<'_> {
    /// Checks a command without sending it.
    ///
    /// # Errors
    /// See [`Unfit`].
    pub fn ready(&self, command: Command) -> Result<Ready, Unfit> {
        command::outgoing(command, super::SOURCE, self.0).map(Ready)
    }
}

impl Ready {
    /// The type of the command.
    pub fn definition(&self) -> &'static Definition {
        self.0.definition
    }

    /// The key of its record.
    pub fn key(&self) -> &str {
        &self.0.key
    }

    /// The value of its record, with the schema's id.
    pub fn value(&self) -> &[u8] {
        &self.0.value
    }
}

impl Acknowledged {
    /// Whether a fingerprint of the ledger is of this command, and not of another one with the same identity.
    pub fn has_fingerprint(&self, fingerprint: &[u8]) -> bool {
        unframe(&self.value).is_ok_and(|(_, body)| is_content(fingerprint, self.definition.full_name, body))
    }
}
