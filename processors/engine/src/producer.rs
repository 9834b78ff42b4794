//! Writing to Kafka, acknowledged.

use std::time::Duration;

use async_trait::async_trait;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::buffer::{Buffer, Room};
use crate::client::{self, KafkaSettings};
use crate::error::WorkError;
use crate::record::{Header, Record};

/// What was unpacked from a batch may be larger than the batch was. librdkafka gives us nothing larger (its
/// `receive.message.max.bytes`), and a request must fit into the broker's `socket.request.max.bytes`, both 100 MB by
/// default.
const MESSAGE_BYTES_MAX: &str = "100000000";

/// What is on its way to Kafka at once, in bytes: the client buffers each copy beside its record.
const COPIES_BYTES: usize = 16 << 20;

/// An idempotent producer that partitions as Java's clients and Connect do.
#[derive(Clone)]
pub struct Producer {
    client: FutureProducer,
    room: Room,
    delivery_timeout: Duration,
}

impl Producer {
    /// Connects when first used. What Kafka has not acknowledged within `delivery_timeout` is given up as an outage.
    ///
    /// # Errors
    /// When the configuration is refused.
    pub fn new(
        kafka: &KafkaSettings,
        delivery_timeout: Duration,
    ) -> Result<Self, rdkafka::error::KafkaError> {
        let mut config = client::producer(kafka, client::COPIES, delivery_timeout);
        // Counted before it is packed; the topic's own limit, `max.message.bytes`, counts what is packed.
        config.set("message.max.bytes", MESSAGE_BYTES_MAX);
        let room = Buffer::new("copies", COPIES_BYTES).room();
        Ok(Self { client: config.create()?, room, delivery_timeout })
    }
}

/// Where a copy lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// Copies records to other topics.
#[async_trait]
pub trait Copier: Send + Sync + 'static {
    /// Sends a record's key, bytes and headers untouched to another topic, with more headers behind them. It returns
    /// once Kafka has acknowledged it.
    ///
    /// # Errors
    /// [`WorkError::NotTaken`] when Kafka takes no such record there; [`WorkError::Outage`], when the copy may be there
    /// nevertheless.
    async fn copy(&self, record: &Record, topic: &str, more: &[Header]) -> Result<Delivery, WorkError>;
}

#[async_trait]
impl Copier for Producer {
    async fn copy(&self, record: &Record, topic: &str, more: &[Header]) -> Result<Delivery, WorkError> {
        let _room = self.room.take(record.room_needed()).await;
        let headers = millrace_kafka::owned_headers(record.headers.iter().chain(more).map(Into::into));
        let mut message = FutureRecord::<[u8], [u8]>::to(topic).headers(headers);
        if let Some(key) = record.key.as_deref() {
            message = message.key(key);
        }
        if let Some(value) = record.value.as_deref() {
            message = message.payload(value);
        }
        let sent = self.client.send(message, self.delivery_timeout).await;
        let delivery = sent.map_err(|(error, _)| WorkError::from(error))?;
        Ok(Delivery { partition: delivery.partition, offset: delivery.offset })
    }
}
