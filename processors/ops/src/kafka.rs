//! Kafka, for the operator's commands.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use millrace_engine::{KafkaSettings, client, release};
use millrace_kafka::{Unfetchable, is_unfetchable, next_offset, unfetchable};
use rdkafka::Message as _;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResourceResult, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::config::Kafka;
use crate::failure::{Failure, Service};

/// How long a request may take.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// librdkafka requires a group id; it is not used, since nothing is subscribed or committed.
const NO_GROUP: &str = "millrace-operator";

/// How to reach Kafka.
pub fn settings(config: &Kafka) -> KafkaSettings {
    KafkaSettings {
        brokers: config.brokers.clone(),
        session_timeout: config.session_timeout,
        heartbeat_interval: config.heartbeat_interval,
        properties: config.revealed(),
    }
}

/// The configuration of an administrator or a producer: brokers and further properties.
pub fn client_config(config: &Kafka) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &config.brokers);
    client.set("client.id", "millrace");
    client.extend(config.revealed());
    client
}

/// The configuration of a consumer of a group, as its members have it.
fn consumer_config(config: &Kafka, group: &str) -> ClientConfig {
    client::consumer(&settings(config), group)
}

/// The configuration of a consumer that joins no group.
pub fn groupless_config(config: &Kafka) -> ClientConfig {
    consumer_config(config, NO_GROUP)
}

/// An admin client.
pub fn admin(config: &Kafka) -> Result<AdminClient<DefaultClientContext>, Failure> {
    client_config(config).create().map_err(|error| failure(config, &error))
}

/// The timeouts of admin requests.
pub fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}

/// Converts an error of Kafka's client.
pub fn failure(config: &Kafka, error: &KafkaError) -> Failure {
    if let KafkaError::ClientConfig(_, reason, name, _) = error {
        let refused = Failure::usage(format!("kafka.properties: `{name}` is refused: {reason}"));
        return refused.with_source(error.clone());
    }
    Failure::unreachable(Service::Kafka, &config.brokers, error.to_string()).with_source(error.clone())
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

/// The retention of topics in seconds; topics that keep records for ever, or whose configuration cannot be read, are left out.
///
/// # Errors
/// [`Failure::Unreachable`].
pub async fn retentions(config: &Kafka, topics: &[String]) -> Result<BTreeMap<String, f64>, Failure> {
    let fail = |error: KafkaError| failure(config, &error);
    let admin: AdminClient<DefaultClientContext> = client_config(config).create().map_err(fail)?;
    let resources: Vec<ResourceSpecifier<'_>> =
        topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let described =
        admin.describe_configs(&resources, &AdminOptions::new().request_timeout(Some(TIMEOUT))).await;
    let kept = |answer: ConfigResourceResult| -> Option<f64> {
        let text = answer.ok()?.get("retention.ms")?.value.clone()?;
        text.parse().ok().filter(|kept: &f64| *kept >= 0.0).map(|kept| kept / 1_000.0)
    };
    let answers = topics.iter().zip(described.map_err(fail)?);
    Ok(answers.filter_map(|(topic, answer)| Some((topic.clone(), kept(answer)?))).collect())
}

/// The end offsets of partitions, records of open transactions included. Blocks.
///
/// # Errors
/// [`Failure::Unreachable`].
pub fn written_ends(config: &Kafka, partitions: &[Partition]) -> Result<Offsets, Failure> {
    let fail = |error: KafkaError| failure(config, &error);
    let mut client = groupless_config(config);
    client.set("isolation.level", "read_uncommitted");
    let consumer: BaseConsumer = client.create().map_err(fail)?;
    offsets(&consumer, partitions, Offset::End).map_err(fail)
}

/// A topic and the number of a partition.
pub type Partition = (String, i32);
/// An offset of each partition.
pub type Offsets = BTreeMap<Partition, i64>;

/// The first or the end offsets of partitions, in one request.
fn offsets(consumer: &BaseConsumer, partitions: &[Partition], which: Offset) -> KafkaResult<Offsets> {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in partitions {
        // In ListOffsets of Kafka's protocol, special timestamps mean the beginning and the end.
        list.add_partition_offset(topic, *partition, which)?;
    }
    let found = consumer.offsets_for_times(list, TIMEOUT)?;
    let offset = |element: &TopicPartitionListElem<'_>| match element.offset() {
        Offset::Offset(offset) => Some(((element.topic().to_owned(), element.partition()), offset)),
        _ => None,
    };
    Ok(found.elements().iter().filter_map(offset).collect())
}

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

/// Partitions that are read up to their ends.
struct Sought {
    /// The last offset of each remaining partition.
    last: BTreeMap<Partition, i64>,
    /// By partition number, how many remaining partitions have it: the client's end-of-partition event does not name the topic.
    ends: BTreeMap<i32, usize>,
}

impl Sought {
    /// The partitions that are not empty.
    fn of(ends: &BTreeMap<Partition, (i64, i64)>) -> Self {
        let filled = ends.iter().filter(|(_, (first, end))| first < end);
        let last: BTreeMap<Partition, i64> = filled.map(|(at, (_, end))| (at.clone(), end - 1)).collect();
        let mut ends = BTreeMap::new();
        last.keys().for_each(|(_, number)| *ends.entry(*number).or_default() += 1);
        Self { last, ends }
    }

    /// The offsets to start at: some offsets before the end, since the last one may be a transaction marker.
    fn list(&self, ends: &BTreeMap<Partition, (i64, i64)>) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (at, last) in &self.last {
            let first = ends.get(at).map_or(*last, |(first, _)| *first);
            list.add_partition_offset(&at.0, at.1, Offset::Offset((last - 1).max(first)))?;
        }
        Ok(list)
    }

    fn saw(&mut self, (topic, number, offset): (&str, i32, i64)) {
        self.last.retain(|at, last| at.0 != topic || at.1 != number || offset < *last);
    }

    fn ended(&mut self, number: i32) {
        let left = self.ends.entry(number).or_default();
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.last.retain(|at, _| at.1 != number);
        }
    }
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

    /// The first offset and the last stable offset of each of these partitions; nothing from the latter on can be read now.
    /// Partitions without an answer are left out.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub fn ends_of(&self, partitions: &[Partition]) -> Result<BTreeMap<Partition, (i64, i64)>, Failure> {
        let fail = |error: KafkaError| failure(self.config, &error);
        let firsts = offsets(&self.consumer, partitions, Offset::Beginning).map_err(fail)?;
        let mut ends = offsets(&self.consumer, partitions, Offset::End).map_err(fail)?;
        let both = firsts.into_iter().filter_map(|(place, first)| {
            let end = ends.remove(&place)?;
            Some((place, (first, end)))
        });
        Ok(both.collect())
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
        let ends = self.ends_of(partitions)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_done_with_its_last_record_or_when_all_of_its_number_have_ended() {
        let place = |topic: &str, number| (topic.to_owned(), number);
        let ends = [
            (place("a", 0), (0, 5)),
            (place("b", 0), (2, 3)),
            (place("b", 1), (4, 4)),
            (place("c", 1), (0, 9)),
        ];
        let mut sought = Sought::of(&ends.into());
        assert_eq!(sought.last.len(), 3, "an empty one has no last record");
        sought.saw(("a", 0, 3));
        assert_eq!(sought.last.len(), 3, "one comes behind it");
        sought.saw(("a", 0, 4));
        sought.ended(0);
        assert!(sought.last.contains_key(&place("b", 0)), "it may have been the end of the other topic");
        sought.ended(0);
        sought.ended(1);
        assert!(sought.last.is_empty());
    }
}
