//! Finding the offsets of records of a partition that cannot be fetched.
//!
//! A batch that the client cannot decompress, or whose checksum is wrong, stops its partition: the client fetches it again and
//! again, and raises an error without the offset. Fetching one partition at a time finds the batch; fetching from offsets inside
//! and after it finds its end, since the error contains the batch's first offset.

use std::ffi::CStr;
use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::bindings as sys;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::{Offset, TopicPartitionList};

use crate::{Owned, awaited};

/// Offsets that are returned at a time, at most: a batch may contain millions of records.
const OFFSETS_MAX: i64 = 1_000;

/// Offsets of a partition whose records cannot be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfetchable {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The reader's next offset: there is no record from there to the first of `offsets`.
    pub next: i64,
    /// The offsets, at most `OFFSETS_MAX`. The batch may have further ones.
    pub offsets: Range<i64>,
    /// The client's error.
    pub code: Code,
}

/// Whether a consumer's error means that records cannot be fetched, now or later: a batch that cannot be decompressed, possibly
/// since it exceeds `receive.message.max.bytes`; one of an unknown codec; one with a wrong checksum.
pub fn is_unfetchable(code: Code) -> bool {
    matches!(code, Code::BadCompression | Code::NotImplemented | Code::BadMessage)
}

/// The next offset that a reader of a partition fetches: its position, or the one that was `sought` if nothing was read since.
pub fn next_offset(positions: &TopicPartitionList, topic: &str, partition: i32, sought: i64) -> i64 {
    match positions.find_partition(topic, partition).map(|element| element.offset()) {
        Some(Offset::Offset(position)) => position.max(sought),
        _ => sought,
    }
}

/// The unfetchable records at the next offsets of readers (topic, partition and next offset of each). Fetches with a separate
/// client, configured with `config`. Blocks for at most about `within`.
///
/// # Errors
/// [`KafkaError`] when Kafka does not answer in time.
pub fn unfetchable(
    config: &ClientConfig,
    nexts: &[(String, i32, i64)],
    within: Duration,
) -> KafkaResult<Vec<Unfetchable>> {
    let probe = Probe::new(config, within)?;
    let mut found = Vec::new();
    for (topic, partition, next) in nexts {
        let (first, end) = probe.consumer.fetch_watermarks(topic, *partition, probe.left()?)?;
        if (first..end).contains(next) {
            found.extend(Partition { probe: &probe, topic, partition: *partition, end }.from(*next)?);
        }
    }
    Ok(found)
}

/// A client that fetches single batches.
struct Probe {
    /// The consumer's: freed before it.
    queue: Owned<sys::rd_kafka_queue_t>,
    consumer: BaseConsumer,
    until: Instant,
}

impl Probe {
    fn new(config: &ClientConfig, within: Duration) -> KafkaResult<Self> {
        let mut config = config.clone();
        config.remove("max.partition.fetch.bytes");
        config
            // One batch at a time: the first batch of a response is always returned, however large it is (KIP-74).
            .set("fetch.message.max.bytes", "1")
            .set("queued.min.messages", "1")
            .set("fetch.wait.max.ms", "10")
            .set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.create()?;
        // SAFETY: the client lives longer than the queue, which is checked, and freed by its owner.
        let queue = unsafe {
            let queue = sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr());
            Owned::of(queue, sys::rd_kafka_queue_destroy)?
        };
        Ok(Self { queue, consumer, until: Instant::now() + within })
    }

    fn left(&self) -> KafkaResult<Duration> {
        let late = || KafkaError::AdminOp(Code::OperationTimedOut);
        self.until.checked_duration_since(Instant::now()).ok_or_else(late)
    }
}

/// A partition to examine.
struct Partition<'p> {
    probe: &'p Probe,
    topic: &'p str,
    partition: i32,
    /// Nothing from here on can be fetched now.
    end: i64,
}

/// A batch that cannot be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Batch {
    first: i64,
    code: Code,
}

impl Partition<'_> {
    /// The unfetchable batches from an offset on, up to the first record that can be fetched.
    fn from(&self, mut next: i64) -> KafkaResult<Vec<Unfetchable>> {
        let (mut found, mut left) = (Vec::new(), OFFSETS_MAX);
        while next < self.end && left > 0 {
            let Some(batch) = self.batch_at(next)? else { break };
            let first = batch.first.max(next);
            let behind = last_inside(first, self.end.min(first + left), |offset| {
                Ok(self.batch_at(offset)?.is_some_and(|other| other.first == batch.first))
            })? + 1;
            let (topic, partition) = (self.topic.to_owned(), self.partition);
            found.push(Unfetchable { topic, partition, next, offsets: first..behind, code: batch.code });
            left -= behind - first;
            next = behind;
        }
        Ok(found)
    }

    /// The unfetchable batch at an offset; `None` when the offset can be read, or nothing is there.
    fn batch_at(&self, offset: i64) -> KafkaResult<Option<Batch>> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(self.topic, self.partition, Offset::Offset(offset))?;
        self.probe.consumer.assign(&list)?;
        loop {
            let event = awaited(&self.probe.queue, self.probe.left()?)?;
            // SAFETY: the event lives until the end of this iteration.
            match unsafe { self.fetched(&event) } {
                Some(Fetched::Batch(batch)) => return Ok(Some(batch)),
                Some(Fetched::Readable) => return Ok(None),
                Some(Fetched::Refused(code)) => return Err(KafkaError::MessageConsumption(code)),
                None => {}
            }
        }
    }

    /// What an event means for this partition; `None` when it is about another one.
    ///
    /// # Safety
    /// The event must be one of librdkafka's that still lives.
    unsafe fn fetched(&self, event: &Owned<sys::rd_kafka_event_t>) -> Option<Fetched> {
        // SAFETY: as the caller promises; a partition is checked, and freed by its owner.
        unsafe {
            match sys::rd_kafka_event_type(event.pointer()) {
                sys::RD_KAFKA_EVENT_FETCH => Some(Fetched::Readable),
                sys::RD_KAFKA_EVENT_ERROR => {
                    let place = sys::rd_kafka_event_topic_partition(event.pointer());
                    let place = Owned::of(place, sys::rd_kafka_topic_partition_destroy).ok()?;
                    let sys::rd_kafka_topic_partition_s { topic, partition, offset, .. } = *place.pointer();
                    let ours = CStr::from_ptr(topic).to_bytes() == self.topic.as_bytes();
                    let code = Code::from(sys::rd_kafka_event_error(event.pointer()));
                    (ours && partition == self.partition).then(|| Fetched::of(code, offset))
                }
                _ => None,
            }
        }
    }
}

/// The result of a fetch.
enum Fetched {
    Batch(Batch),
    /// A record, or the end of the partition.
    Readable,
    /// Something else is wrong with the partition.
    Refused(Code),
}

impl Fetched {
    fn of(code: Code, first: i64) -> Self {
        match code {
            Code::PartitionEOF => Self::Readable,
            code if is_unfetchable(code) => Self::Batch(Batch { first, code }),
            code => Self::Refused(code),
        }
    }
}

/// The last offset that is inside, given that `inside` is and all from `end` on are not. Most batches are short: searches in
/// growing steps, then by bisection.
fn last_inside(
    mut inside: i64,
    mut end: i64,
    mut is_inside: impl FnMut(i64) -> KafkaResult<bool>,
) -> KafkaResult<i64> {
    let mut step = 1;
    while inside + 1 < end {
        let asked = (inside + step).min(inside.midpoint(end));
        if is_inside(asked)? {
            (inside, step) = (asked, step * 2);
        } else {
            end = asked;
        }
    }
    Ok(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_offset_of_a_batch_is_found_with_few_questions() {
        for last in [7, 8, 9, 20, 500, 999, 1_006] {
            let mut asked = 0;
            let found = last_inside(7, 1_007, |offset| {
                asked += 1;
                Ok(offset <= last)
            });
            assert_eq!(found, Ok(last));
            assert!(asked <= 20, "{asked} questions for {last}");
        }
    }

    #[test]
    fn a_batch_of_one_record_takes_one_question_and_none_at_the_end() {
        let mut asked = Vec::new();
        let ask = |offset| {
            asked.push(offset);
            Ok(false)
        };
        assert_eq!(last_inside(7, 1_000_000, ask), Ok(7));
        assert_eq!(asked, [8]);
        assert_eq!(last_inside(7, 8, |_| unreachable!()), Ok(7));
    }

    #[test]
    fn a_broker_that_does_not_answer_is_an_error_in_time() {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "127.0.0.1:1").set("group.id", "probe");
        let nexts = [("orders".to_owned(), 0, 0)];
        assert!(unfetchable(&config, &nexts, Duration::from_millis(100)).is_err());
    }
}
