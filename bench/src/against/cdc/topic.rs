//! Records as they arrive on the topic of customers' events.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use millrace_kafka::Header;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message as _, Offset, TopicPartitionList};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::instance::Instance;

const ARRIVES_WITHIN: Duration = Duration::from_secs(60);

/// A record that was read.
pub(super) struct Arrival {
    pub(super) id: String,
    pub(super) at: Instant,
    hash: u64,
}

/// Reads until it is dropped.
pub(super) struct Topic {
    arrivals: UnboundedReceiver<Arrival>,
    reader: JoinHandle<Result<()>>,
    digest: u64,
}

impl Topic {
    /// From the beginning of a fresh topic.
    pub(super) fn open(instance: &Instance) -> Result<Self> {
        let mut config = instance.stack.kafka();
        config.set("group.id", instance.group("reader")).set("enable.auto.commit", "false");
        let consumer: StreamConsumer = config.create()?;
        let (topic, mut list) = (instance.topic("evt", "customers"), TopicPartitionList::new());
        for partition in 0..instance.partitions() {
            list.add_partition_offset(&topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&list)?;
        let (sender, arrivals) = unbounded_channel();
        Ok(Self { arrivals, reader: tokio::spawn(read(consumer, sender)), digest: 0 })
    }

    /// Waits for this many more.
    pub(super) async fn take(&mut self, records: u64) -> Result<Vec<Arrival>> {
        let mut taken = Vec::new();
        for place in 0..records {
            let next = tokio::time::timeout(ARRIVES_WITHIN, self.arrivals.recv()).await;
            let next = next.with_context(|| format!("nothing came after {place} of {records} records"))?;
            let arrival = next.context("the topic cannot be read")?;
            self.digest = self.digest.wrapping_add(arrival.hash);
            taken.push(arrival);
        }
        Ok(taken)
    }

    /// Over all records taken so far, whatever their order.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(consumer: StreamConsumer, sender: UnboundedSender<Arrival>) -> Result<()> {
    loop {
        let message = consumer.recv().await?;
        sender.send(arrival(&message)?)?;
    }
}

fn arrival(message: &BorrowedMessage<'_>) -> Result<Arrival> {
    let at = Instant::now();
    let mut headers: Vec<(&[u8], Option<&[u8]>)> =
        millrace_kafka::headers(message)?.map(|Header { name, value }| (name, value)).collect();
    headers.retain(|(name, _)| name.starts_with(b"ce_") || name.ends_with(b"-id"));
    headers.sort_unstable();
    let id = headers.iter().find(|(name, _)| *name == b"ce_id").and_then(|(_, value)| *value);
    let id = std::str::from_utf8(id.context("a record without ce_id")?)?.to_owned();
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let hash = hasher.hash_one((message.key(), message.payload(), headers));
    Ok(Arrival { id, at, hash })
}
