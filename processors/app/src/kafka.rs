//! Kafka, for the operator's commands.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::config::Config;
use crate::failure::{Failure, Service};

/// How long a request may take.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The configuration of any client: brokers and further properties.
pub fn client_config(config: &Config) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &config.kafka_brokers);
    client.set("client.id", "millrace");
    for (name, value) in &config.kafka_properties {
        client.set(name, value);
    }
    client
}

/// What an error of Kafka's client means.
pub fn failure(config: &Config, error: &KafkaError) -> Failure {
    if let KafkaError::ClientConfig(_, reason, name, _) = error {
        return Failure::usage(format!("kafka_properties: `{name}` is refused: {reason}"));
    }
    let address = config.kafka_brokers.clone();
    Failure::Unreachable { service: Service::Kafka, address, reason: error.to_string() }
}

/// A place in Kafka.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// Where a group's committed offset stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The next offset.
    pub offset: i64,
    /// What its author wrote beside it.
    pub metadata: String,
}

/// The committed offsets of a group, without joining it; partitions that have none are left out. It blocks.
///
/// # Errors
/// [`Failure::Unreachable`].
pub fn committed(
    config: &Config,
    group: &str,
    partitions: &[(String, i32)],
) -> Result<Vec<Committed>, Failure> {
    let fail = |error: KafkaError| failure(config, &error);
    let mut client = client_config(config);
    client.set("group.id", group).set("enable.auto.commit", "false");
    let consumer: BaseConsumer = client.create().map_err(fail)?;
    let mut list = TopicPartitionList::new();
    for (topic, partition) in partitions {
        list.add_partition(topic, *partition);
    }
    let found = consumer.committed_offsets(list, TIMEOUT).map_err(fail)?;
    let committed = found.elements().into_iter().filter_map(|element| match element.offset() {
        Offset::Offset(offset) => {
            let (topic, metadata) = (element.topic().to_owned(), element.metadata().to_owned());
            Some(Committed { topic, partition: element.partition(), offset, metadata })
        }
        _ => None,
    });
    Ok(committed.collect())
}

/// Reads without belonging to a group: metadata, ends of partitions, single records. It blocks; call it from
/// [`tokio::task::block_in_place`].
pub struct Reader<'c> {
    consumer: BaseConsumer,
    config: &'c Config,
}

impl<'c> Reader<'c> {
    /// A reader; connects when first used.
    ///
    /// # Errors
    /// [`Failure::Usage`] when a property is refused.
    pub fn new(config: &'c Config) -> Result<Self, Failure> {
        let mut client = client_config(config);
        // A group id is asked for and never used: nothing is subscribed or committed.
        client.set("group.id", "millrace-operator").set("enable.auto.commit", "false");
        client.set("auto.offset.reset", "earliest").set("fetch.queue.backoff.ms", "10");
        let consumer = client.create().map_err(|error| failure(config, &error))?;
        Ok(Self { consumer, config })
    }

    /// Every topic and its number of partitions.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub fn topics(&self) -> Result<BTreeMap<String, i32>, Failure> {
        let metadata =
            self.consumer.fetch_metadata(None, TIMEOUT).map_err(|error| failure(self.config, &error))?;
        let count = |partitions: usize| i32::try_from(partitions).unwrap_or(i32::MAX);
        Ok(metadata.topics().iter().map(|t| (t.name().to_owned(), count(t.partitions().len()))).collect())
    }

    /// The first offset of a partition and the one after its last record.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub fn ends(&self, topic: &str, partition: i32) -> Result<(i64, i64), Failure> {
        let ends = self.consumer.fetch_watermarks(topic, partition, TIMEOUT);
        ends.map_err(|error| failure(self.config, &error))
    }

    /// Shows records from these positions on, partitions mixed, until the visitor has had enough or time is up.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub fn visit(
        &self,
        from: &[Position],
        time: Duration,
        mut visitor: impl FnMut(&BorrowedMessage<'_>) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let fail = |error: KafkaError| failure(self.config, &error);
        let mut list = TopicPartitionList::new();
        for Position { topic, partition, offset } in from {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).map_err(fail)?;
        }
        self.consumer.assign(&list).map_err(fail)?;
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let stop = match self.consumer.poll(left.min(Duration::from_millis(200))) {
                Some(message) => visitor(&message.map_err(fail)?).is_break(),
                None => false,
            };
            if stop {
                break;
            }
        }
        self.consumer.unassign().map_err(fail)
    }
}
