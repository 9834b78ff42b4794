//! What Kafka keeps of a group.

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::{TIMEOUT, consumer_config, failure};
use crate::config::Kafka;
use crate::failure::Failure;

/// A committed offset of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The next offset.
    pub offset: i64,
    /// The metadata that was committed with it.
    pub metadata: String,
}

/// Reads a group's committed offsets without joining it. Blocks.
pub struct Commits<'c> {
    consumer: BaseConsumer,
    config: &'c Kafka,
}

impl<'c> Commits<'c> {
    /// For a group; connects when first used.
    ///
    /// # Errors
    /// [`Failure::Usage`] when a property is refused.
    pub fn of(config: &'c Kafka, group: &str) -> Result<Self, Failure> {
        let consumer = consumer_config(config, group).create().map_err(|error| failure(config, &error))?;
        Ok(Self { consumer, config })
    }

    /// The committed offsets of these partitions; partitions without one are left out.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub fn committed(&self, partitions: &[(String, i32)]) -> Result<Vec<Committed>, Failure> {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in partitions {
            list.add_partition(topic, *partition);
        }
        let found = self.consumer.committed_offsets(list, TIMEOUT);
        let found = found.map_err(|error| failure(self.config, &error))?;
        let committed = found.elements().into_iter().filter_map(|element| match element.offset() {
            Offset::Offset(offset) => {
                let (topic, metadata) = (element.topic().to_owned(), element.metadata().to_owned());
                Some(Committed { topic, partition: element.partition(), offset, metadata })
            }
            _ => None,
        });
        Ok(committed.collect())
    }

    /// The partitions of those of these topics that exist.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub fn partitions(&self, topics: &[String]) -> Result<Vec<(String, i32)>, Failure> {
        let metadata = self.consumer.fetch_metadata(None, TIMEOUT);
        let metadata = metadata.map_err(|error| failure(self.config, &error))?;
        let ours = metadata.topics().iter().filter(|topic| topics.iter().any(|name| name == topic.name()));
        Ok(ours
            .flat_map(|topic| topic.partitions().iter().map(|one| (topic.name().to_owned(), one.id())))
            .collect())
    }

    /// The first existing offset.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub fn first(&self, (topic, partition): &(String, i32)) -> Result<i64, Failure> {
        let ends = self.consumer.fetch_watermarks(topic, *partition, TIMEOUT);
        ends.map(|(first, _)| first).map_err(|error| failure(self.config, &error))
    }
}
