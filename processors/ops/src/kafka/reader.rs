//! Reading without a group: metadata, ends of partitions, records.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use millrace_engine::release;
use millrace_kafka::{Unfetchable, Watermarks, is_unfetchable, next_offset, unfetchable, watermarks};
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};

use super::sought::Sought;
use super::{Partition, TIMEOUT, failure, groupless_config};
use crate::config::Kafka;
use crate::failure::Failure;

/// What a [`Reader`] finds in a partition.
pub enum Seen<'s, 'm> {
    /// A record.
    Record(&'s BorrowedMessage<'m>),
    /// Offsets that cannot be fetched, and why; the reader continues after them.
    Unfetchable(i32, Range<i64>, RDKafkaErrorCode),
    /// No further record exists in this partition now: up to its end there are only transaction markers, records of aborted
    /// transactions, and gaps of compaction.
    End(i32),
}

/// Reads without joining a group: metadata, ends of partitions, single records. Blocks; call it in
/// [`tokio::task::block_in_place`].
pub struct Reader<'c> {
    consumer: BaseConsumer,
    config: &'c Kafka,
}

impl<'c> Reader<'c> {
    /// A reader; connects when first used.
    ///
    /// # Errors
    /// [`Failure::Usage`] when a property is refused.
    pub fn new(config: &'c Kafka) -> Result<Self, Failure> {
        let mut client = groupless_config(config);
        client.set("auto.offset.reset", "earliest").set("fetch.queue.backoff.ms", "10");
        // The end is only reported after the broker has answered a fetch without records.
        client.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "20");
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

    /// The number of members of a group.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub fn members(&self, group: &str) -> Result<usize, Failure> {
        let list = self.consumer.fetch_group_list(Some(group), TIMEOUT);
        let list = list.map_err(|error| failure(self.config, &error))?;
        let found = list.groups().iter().filter(|found| found.name() == group);
        Ok(found.map(|group| group.members().len()).sum())
    }

    /// The highest release of a group's members, if that is a later one than this build's.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub fn later_member(&self, group: &str) -> Result<Option<i32>, Failure> {
        let list = self.consumer.fetch_group_list(Some(group), TIMEOUT);
        let list = list.map_err(|error| failure(self.config, &error))?;
        Ok(release::later_member(&list))
    }

    /// The first offset and the last stable one of each partition of those of these topics that exist.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub fn ends_of_topics(&self, topics: impl IntoIterator<Item = String>) -> Result<Watermarks, Failure> {
        let there = self.topics()?;
        let partitions = |topic: String| {
            let count = there.get(&topic).copied().unwrap_or_default();
            (0..count).map(move |partition| (topic.clone(), partition))
        };
        self.ends_of(&topics.into_iter().flat_map(partitions).collect::<Vec<_>>())
    }

    /// The first offset and the last stable one of each of these partitions: nothing from there on can be read now.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub fn ends_of(&self, partitions: &[Partition]) -> Result<Watermarks, Failure> {
        let mut ends = self.known_ends(partitions)?;
        for place @ (topic, partition) in partitions {
            // Such as a partition without leader: a separate request shows the error.
            if !ends.contains_key(place) {
                ends.insert(place.clone(), self.ends(topic, *partition)?);
            }
        }
        Ok(ends)
    }

    fn known_ends(&self, partitions: &[Partition]) -> Result<Watermarks, Failure> {
        let ends = watermarks(&self.consumer, partitions, TIMEOUT);
        ends.map_err(|error| failure(self.config, &error))
    }

    /// The offset of the first record of each partition that is not older than this time; partitions without one are left out.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub fn first_since(
        &self,
        partitions: &[Partition],
        time: DateTime<Utc>,
    ) -> Result<BTreeMap<Partition, i64>, Failure> {
        // Nothing is asked about none: librdkafka refuses that.
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let fail = |error: KafkaError| failure(self.config, &error);
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for (topic, partition) in partitions {
            // The time takes the place of the offset.
            let since = Offset::Offset(time.timestamp_millis());
            asked.add_partition_offset(topic, *partition, since).map_err(fail)?;
        }
        let mut found = BTreeMap::new();
        for one in self.consumer.offsets_for_times(asked, TIMEOUT).map_err(fail)?.elements() {
            one.error().map_err(fail)?;
            if let Offset::Offset(offset) = one.offset() {
                found.insert((one.topic().to_owned(), one.partition()), offset);
            }
        }
        Ok(found)
    }

    /// Passes the last few records of each partition to the visitor, partitions mixed, each in order. False when not all were
    /// read in time.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub fn visit_last(
        &self,
        partitions: &[Partition],
        time: Duration,
        mut visitor: impl FnMut(&BorrowedMessage<'_>),
    ) -> Result<bool, Failure> {
        let fail = |error: KafkaError| failure(self.config, &error);
        let ends = self.known_ends(partitions)?;
        let mut sought = Sought::of(&ends);
        self.consumer.assign(&sought.list(&ends).map_err(fail)?).map_err(fail)?;
        let until = Instant::now() + time;
        while !sought.last.is_empty()
            && let Some(left) = until.checked_duration_since(Instant::now())
        {
            match self.consumer.poll(left.min(Duration::from_millis(200))) {
                Some(Err(KafkaError::PartitionEOF(number))) => sought.ended(number),
                Some(message) => {
                    let message = message.map_err(fail)?;
                    sought.saw((message.topic(), message.partition(), message.offset()));
                    visitor(&message);
                }
                None => {}
            }
        }
        self.consumer.unassign().map_err(fail)?;
        Ok(sought.last.is_empty() && ends.len() == partitions.len())
    }

    /// The first offset of a partition and its last stable offset; nothing from the latter on can be read now.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub fn ends(&self, topic: &str, partition: i32) -> Result<(i64, i64), Failure> {
        let ends = self.consumer.fetch_watermarks(topic, partition, TIMEOUT);
        ends.map_err(|error| failure(self.config, &error))
    }

    /// Passes the records of a topic from these offsets on to the visitor, partitions mixed, until it stops or time is up.
    /// Unfetchable records are logged and skipped.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub fn visit(
        &self,
        topic: &str,
        from: impl IntoIterator<Item = (i32, i64)>,
        time: Duration,
        mut visitor: impl FnMut(Seen<'_, '_>) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let fail = |error: KafkaError| failure(self.config, &error);
        let (mut list, mut sought) = (TopicPartitionList::new(), BTreeMap::new());
        for (partition, offset) in from {
            list.add_partition_offset(topic, partition, Offset::Offset(offset)).map_err(fail)?;
            sought.insert(partition, offset);
        }
        self.consumer.assign(&list).map_err(fail)?;
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let stop = match self.consumer.poll(left.min(Duration::from_millis(200))) {
                Some(Err(KafkaError::PartitionEOF(partition))) => visitor(Seen::End(partition)).is_break(),
                Some(Err(KafkaError::MessageConsumption(code))) if is_unfetchable(code) => {
                    self.go_on_behind(topic, &mut sought, &mut visitor).map_err(fail)?.is_break()
                }
                Some(message) => visitor(Seen::Record(&message.map_err(fail)?)).is_break(),
                None => false,
            };
            if stop {
                break;
            }
        }
        self.consumer.unassign().map_err(fail)
    }

    /// Finds the unfetchable records at the client's positions, which the client does not report, and seeks beyond them.
    fn go_on_behind(
        &self,
        topic: &str,
        sought: &mut BTreeMap<i32, i64>,
        visitor: &mut impl FnMut(Seen<'_, '_>) -> ControlFlow<()>,
    ) -> KafkaResult<ControlFlow<()>> {
        for found in unfetchable(&groupless_config(self.config), &self.nexts(topic, sought)?, TIMEOUT)? {
            let Unfetchable { partition, offsets, code, .. } = found;
            tracing::warn!(topic, partition, ?offsets, %code, "records cannot be fetched and are passed over");
            self.consumer.seek(topic, partition, Offset::Offset(offsets.end), TIMEOUT)?;
            sought.insert(partition, offsets.end);
            if visitor(Seen::Unfetchable(partition, offsets, code)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The next offset of each partition of a topic, given the offsets of the last seeks.
    fn nexts(&self, topic: &str, sought: &BTreeMap<i32, i64>) -> KafkaResult<Vec<(String, i32, i64)>> {
        let positions = self.consumer.position()?;
        let next = |(partition, sought): (&i32, &i64)| {
            (topic.to_owned(), *partition, next_offset(&positions, topic, *partition, *sought))
        };
        Ok(sought.iter().map(next).collect())
    }
}
