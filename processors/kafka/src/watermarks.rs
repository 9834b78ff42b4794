//! First and last offsets of many partitions, in one request to each broker.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

/// By topic and partition: the first offset, and the one after the last record that the consumer may read (the last stable
/// offset where it reads committed records only).
pub type Watermarks = BTreeMap<(String, i32), (i64, i64)>;

/// The watermarks of partitions; those of which Kafka knows none are left out. Blocks, for twice `within` at most.
///
/// # Errors
/// [`KafkaError`](rdkafka::error::KafkaError) when Kafka does not answer in time.
pub fn watermarks<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    partitions: &[(impl AsRef<str>, i32)],
    within: Duration,
) -> KafkaResult<Watermarks> {
    let firsts = offsets(consumer, partitions, Offset::Beginning, within)?;
    let mut ends = offsets(consumer, partitions, Offset::End, within)?;
    let both = firsts.into_iter().filter_map(|(place, first)| {
        let end = ends.remove(&place)?;
        Some((place, (first, end)))
    });
    Ok(both.collect())
}

/// The beginning or the end of partitions; those of which Kafka knows none are left out. Blocks, for about `within` at most.
///
/// # Errors
/// As of [`watermarks`].
pub fn offsets<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    partitions: &[(impl AsRef<str>, i32)],
    which: Offset,
    within: Duration,
) -> KafkaResult<BTreeMap<(String, i32), i64>> {
    if partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut asked = TopicPartitionList::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        // ListOffsets of Kafka's protocol takes it in the place of a timestamp.
        asked.add_partition_offset(topic.as_ref(), *partition, which)?;
    }
    let found = consumer.offsets_for_times(asked, within)?;
    Ok(found.elements().iter().filter_map(offset).collect())
}

/// The offset after the last record of a partition, as of the client's latest fetch; `None` before the first. Needs no request.
pub fn fetched_end<C: ClientContext>(client: &Client<C>, topic: &str, partition: i32) -> Option<i64> {
    let topic = CString::new(topic).ok()?;
    let (mut first, mut end) = (0, 0);
    // SAFETY: the client outlives the call, the topic's name is copied, and both numbers are written.
    let answer = unsafe {
        sys::rd_kafka_get_watermark_offsets(
            client.native_ptr(),
            topic.as_ptr(),
            partition,
            &mut first,
            &mut end,
        )
    };
    (answer == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && end >= 0).then_some(end)
}

fn offset(found: &TopicPartitionListElem<'_>) -> Option<((String, i32), i64)> {
    match (found.error(), found.offset()) {
        (Ok(()), Offset::Offset(offset)) => Some(((found.topic().to_owned(), found.partition()), offset)),
        _ => None,
    }
}
