//! A producer that waits for acknowledgements.

use std::time::Duration;

use async_trait::async_trait;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::buffer::{Buffer, Room};
use crate::client::{self, KafkaSettings};
use crate::error::WorkError;
use crate::record::{Header, Record};

/// A decompressed record may be larger than its compressed batch was. librdkafka delivers nothing larger than this
/// (`receive.message.max.bytes`), and a request must fit into the broker's `socket.request.max.bytes`; both are 100 MB by default.
const MESSAGE_BYTES_MAX: &str = "100000000";

/// Bytes of copies that are not acknowledged, at most: the client buffers each copy in addition to its record.
const COPIES_BYTES: usize = 16 << 20;

/// An idempotent producer that partitions as Java's clients and Connect do.
#[derive(Clone)]
pub struct Producer {
    client: FutureProducer,
    room: Room,
    delivery_timeout: Duration,
}

impl Producer {
    /// A producer that connects when first used. A record that is not acknowledged within `delivery_timeout` is an outage.
    ///
    /// # Errors
    /// When the configuration is refused.
    pub fn new(
        kafka: &KafkaSettings,
        delivery_timeout: Duration,
    ) -> Result<Self, rdkafka::error::KafkaError> {
        let mut config = client::producer(kafka, client::COPIES, delivery_timeout);
        // This limit is for the uncompressed record; the topic's limit, `max.message.bytes`, is for the compressed batch.
        config.set("message.max.bytes", MESSAGE_BYTES_MAX);
        let room = Buffer::new("copies", COPIES_BYTES).room();
        Ok(Self { client: config.create()?, room, delivery_timeout })
    }
}

/// The place of a copy.
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
    /// Sends a record's key, value and headers unchanged to another topic, with the headers `more` after them. Returns once Kafka
    /// has acknowledged the copy.
    ///
    /// # Errors
    /// [`WorkError::NotTaken`] when Kafka refuses such a record; [`WorkError::Outage`], when the copy may have been written
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
