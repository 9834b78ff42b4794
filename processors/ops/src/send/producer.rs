//! A producer of commands with bounded memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millrace_engine::client::{self, Property};
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};

use super::command::Outgoing;
use crate::config::{Config, Kafka};
use crate::failure::Failure;
use crate::kafka;
use crate::listener::Listener;

/// Commands in memory that Kafka has not acknowledged: at most this many kilobytes.
const IN_FLIGHT_KB: &str = "32768";
/// The timeout of the check that Kafka answers, before the first command.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
/// The timeout for the acknowledgement of a command.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);
/// Properties for throughput, unless they are configured.
const CHOSEN: &[Property] = &[
    (&["linger.ms", "queue.buffering.max.ms"], "5"),
    (&["compression.type", "compression.codec"], "lz4"),
    (&["queue.buffering.max.kbytes"], IN_FLIGHT_KB),
];
/// Failed deliveries that are reported; further ones are only counted.
const REPORTED_MAX: u64 = 20;

/// Counts deliveries; reports failures with their line.
struct Deliveries {
    delivered: AtomicU64,
    failed: AtomicU64,
    listener: Arc<dyn Listener>,
}

impl Deliveries {
    fn fail(&self, line: u64, error: &KafkaError) {
        if self.failed.fetch_add(1, Ordering::Relaxed) < REPORTED_MAX {
            self.listener.say(&format!("line {line}: was not delivered: {error}"));
        }
    }
}

/// Shared with librdkafka's thread.
#[derive(Clone)]
struct Context(Arc<Deliveries>);

impl ClientContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, line: Box<u64>) {
        match result {
            Ok(_) => drop(self.0.delivered.fetch_add(1, Ordering::Relaxed)),
            Err((error, _)) => self.0.fail(*line, error),
        }
    }
}

/// Sends commands in order; commands of a key stay in order, also when the client retries.
pub(super) struct Sender {
    producer: ThreadedProducer<Context>,
    deliveries: Arc<Deliveries>,
}

impl Sender {
    pub(super) fn new(config: &Config, listener: Arc<dyn Listener>) -> Result<Self, Failure> {
        let (delivered, failed) = (AtomicU64::new(0), AtomicU64::new(0));
        let deliveries = Arc::new(Deliveries { delivered, failed, listener });
        let client = client::producer(&kafka::settings(&config.kafka), CHOSEN, DELIVERY_TIMEOUT);
        let producer = client.create_with_context(Context(deliveries.clone()));
        Ok(Self { producer: producer.map_err(|error| kafka::failure(&config.kafka, &error))?, deliveries })
    }

    /// Checks that Kafka answers, so that not every command waits for its timeout. Blocks.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub(super) fn ask(&self, config: &Kafka) -> Result<(), Failure> {
        let answer = self.producer.client().fetch_metadata(None, ANSWER_TIMEOUT);
        answer.map(|_| ()).map_err(|error| kafka::failure(config, &error))
    }

    /// Sends a command; waits while the client's buffer is full.
    pub(super) fn send(&self, line: u64, outgoing: &Outgoing) {
        let headers = outgoing.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        let mut record = BaseRecord::with_opaque_to(&outgoing.topic, Box::new(line))
            .key(&outgoing.key)
            .payload(&outgoing.value)
            .headers(headers);
        let until = Instant::now() + DELIVERY_TIMEOUT * 2;
        while let Err((error, back)) = self.producer.send(record) {
            match error {
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(10));
                    record = back;
                }
                error => {
                    self.deliveries.fail(line, &error);
                    return;
                }
            }
        }
    }

    /// Waits until Kafka has acknowledged or refused everything.
    pub(super) fn flush(&self) -> Result<(), Failure> {
        let flushed = self.producer.flush(DELIVERY_TIMEOUT * 2);
        flushed.map_err(|error| Failure::refused("Kafka has not taken everything").caused_by(error))
    }

    /// Delivered and failed.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.deliveries.delivered.load(Ordering::Relaxed), self.deliveries.failed.load(Ordering::Relaxed))
    }
}
