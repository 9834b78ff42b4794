//! A producer of commands with bounded memory.

use std::time::Duration;

use millrace_engine::client::{self, Property};
use rdkafka::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};

use super::command::Outgoing;
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka;

/// The timeout of the check that Kafka answers, before the first command.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
/// Commands in memory that Kafka has not acknowledged: at most this many kilobytes.
pub(super) const IN_FLIGHT: Property = (&["queue.buffering.max.kbytes"], "32768");

/// The property with the largest record that the client takes, in bytes.
const RECORD_MAX: &str = "message.max.bytes";
/// Bytes of a record beside its key, value and headers, at most, as librdkafka counts them.
const RECORD_BYTES: usize = 36;
/// Bytes of a header beside its name and value: their lengths.
const HEADER_BYTES: usize = 3;

/// Partition and offset of a command, or why Kafka has not taken it.
pub(super) type Delivered = Result<(i32, i64), KafkaError>;
/// Called once for each command, on librdkafka's thread.
pub(super) type Told = Box<dyn FnOnce(Delivered) + Send + Sync>;

struct Context;

impl ClientContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Told>;

    fn delivery(&self, result: &DeliveryResult<'_>, told: Box<Told>) {
        told(match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        });
    }
}

/// Sends commands in order; commands of a key stay in order, also when the client retries.
pub(super) struct Sender {
    producer: ThreadedProducer<Context>,
    timeout: Duration,
    /// Bytes of a record, at most.
    record_max: usize,
}

impl Sender {
    /// A producer with the values `chosen` for properties that are not configured. A command that is not acknowledged within
    /// `timeout` is given up.
    pub(super) fn new(config: &Config, chosen: &[Property], timeout: Duration) -> Result<Self, Failure> {
        let client = client::producer(&kafka::settings(&config.kafka), chosen, timeout);
        let fail = |error: KafkaError| kafka::failure(&config.kafka, &error);
        let record_max = client.create_native_config().and_then(|all| all.get(RECORD_MAX)).map_err(fail)?;
        let record_max = record_max.parse().unwrap_or(usize::MAX);
        let producer = client.create_with_context(Context).map_err(fail)?;
        Ok(Self { producer, timeout, record_max })
    }

    /// Checks that Kafka answers, so that not every command waits for its timeout. Blocks.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub(super) fn ask(&self, config: &Config) -> Result<(), Failure> {
        let answer = self.producer.client().fetch_metadata(None, ANSWER_TIMEOUT);
        answer.map(|_| ()).map_err(|error| kafka::failure(&config.kafka, &error))
    }

    /// Whether the client takes a record of this size. It counts key, value, headers, and what is around them.
    pub(super) fn takes(&self, Outgoing { key, value, headers, .. }: &Outgoing) -> bool {
        let headers = headers.iter().map(|(name, value)| name.len() + value.len() + HEADER_BYTES);
        RECORD_BYTES + key.len() + value.len() + headers.sum::<usize>() <= self.record_max
    }

    /// Hands a command to the client.
    ///
    /// # Errors
    /// The client's, with `told`, which is not called.
    pub(super) fn send(&self, outgoing: &Outgoing, told: Told) -> Result<(), (KafkaError, Told)> {
        let headers = outgoing.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        let record = BaseRecord::with_opaque_to(&outgoing.topic, Box::new(told))
            .key(&outgoing.key)
            .payload(&outgoing.value)
            .headers(headers);
        self.producer.send(record).map_err(|(error, record)| (error, *record.delivery_opaque))
    }

    /// Waits until Kafka has acknowledged or refused everything.
    pub(super) fn flush(&self) -> Result<(), Failure> {
        let flushed = self.producer.flush(self.timeout * 2);
        flushed.map_err(|error| Failure::refused("Kafka has not taken everything").caused_by(error))
    }
}
