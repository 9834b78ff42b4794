//! A plain consumer that decodes nothing: the upper bound of all readers.

use std::time::Duration;

use anyhow::Result;
use millrace_testkit::Stack;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use super::{Tally, Totals};
use crate::cli::Consume;

/// Records between two looks at the totals.
const BATCH_RECORDS: u64 = 2_000;
const POLL: Duration = Duration::from_millis(10);

/// All partitions from their beginning, in no group.
pub(super) fn consumer(stack: &Stack, options: &Consume) -> Result<BaseConsumer> {
    let mut config = stack.kafka();
    config.set("group.id", format!("{}.plain", options.namespace)).set("enable.auto.commit", "false");
    // The default of a second would stop it whenever its queue was full.
    config.set("fetch.queue.backoff.ms", "2");
    let consumer: BaseConsumer = config.create()?;
    let (topic, mut list) = (format!("{}.evt.customers.v1", options.namespace), TopicPartitionList::new());
    for partition in 0..options.partitions {
        list.add_partition_offset(&topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    Ok(consumer)
}

/// One thread for all partitions: a consumer and a thread for each took a fifth more processor time and were no faster.
pub(super) fn run(consumer: &BaseConsumer, totals: &Totals, stop: &CancellationToken) -> Result<()> {
    while !stop.is_cancelled() {
        totals.add(batch(consumer)?);
    }
    Ok(())
}

/// What is there, up to so many records.
fn batch(consumer: &BaseConsumer) -> Result<Tally> {
    let mut batch = Tally::default();
    while batch.records < BATCH_RECORDS
        && let Some(message) = consumer.poll(POLL)
    {
        batch.read(message?.payload_len());
    }
    Ok(batch)
}
