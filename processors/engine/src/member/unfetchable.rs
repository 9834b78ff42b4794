//! Records that a client cannot fetch: they become dead letters with their place, and the partition continues after them.
//!
//! The client reports neither the offset nor the number of affected records. It is paused, so that it skips nothing, until another
//! client has found the offsets. Then each place is given to its worker as a record without bytes.

use std::collections::HashMap;
use std::time::Duration;

use millrace_kafka::Unfetchable;
use rdkafka::Offset;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaResult;

use super::{Assigned, Member, Partition};
use crate::error::Fault;
use crate::record::Record;

/// The timeout of the search in all partitions of a member.
const FOUND_WITHIN: Duration = Duration::from_secs(30);
/// The delay before the next search when Kafka did not answer.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The timeout of a seek, which the client's own thread performs.
const MOVED_WITHIN: Duration = Duration::from_secs(5);

/// Searches for unfetchable records at the next offsets of partitions. Finds none when Kafka does not answer; then the client
/// reports the error again.
pub(super) async fn look(config: ClientConfig, nexts: Vec<(String, i32, i64)>) -> Vec<Unfetchable> {
    let look = move || millrace_kafka::unfetchable(&config, &nexts, FOUND_WITHIN);
    match tokio::task::spawn_blocking(look).await {
        Ok(Ok(found)) => return found,
        Ok(Err(error)) => tracing::warn!(%error, "search for unfetchable records failed"),
        Err(error) => tracing::error!(%error, "search for unfetchable records failed"),
    }
    tokio::time::sleep(AGAIN_AFTER).await;
    Vec::new()
}

impl Member {
    /// Pauses the client and searches for unfetchable records at its next offsets.
    pub(super) fn find_unfetchable(&mut self) -> impl Future<Output = Vec<Unfetchable>> + use<> {
        self.looking = true;
        self.pause();
        let nexts =
            self.nexts().into_iter().map(|((topic, partition), next)| (topic.to_string(), partition, next));
        look(self.config.clone(), nexts.collect())
    }

    /// The next offset of each partition that the member's own client fetches.
    pub(super) fn nexts(&self) -> HashMap<Partition, i64> {
        let positions = self.consumer.position().unwrap_or_default();
        let next = |(partition, assigned): (&Partition, &Assigned)| {
            let next = millrace_kafka::next_offset(&positions, &partition.0, partition.1, assigned.sought);
            (partition.clone(), next)
        };
        self.assigned.iter().filter(|(partition, _)| !self.is_shared(partition)).map(next).collect()
    }

    /// Seeks beyond the unfetchable records, unless their partition has moved since.
    pub(super) fn go_on_behind(&mut self, found: Vec<Unfetchable>) {
        self.looking = false;
        for unfetchable in found {
            let partition = (unfetchable.topic.as_str().into(), unfetchable.partition);
            if self.nexts().get(&partition) != Some(&unfetchable.next) {
                continue;
            }
            match self.seek(&partition, unfetchable.offsets.end) {
                Ok(()) => self.dead_letter_places(&unfetchable),
                Err(error) => tracing::warn!(?partition, %error, "seek beyond unfetchable records failed"),
            }
        }
        if self.waiting.is_empty() {
            self.resume();
        }
    }

    fn seek(&mut self, partition: &Partition, to: i64) -> KafkaResult<()> {
        self.consumer.seek(&partition.0, partition.1, Offset::Offset(to), MOVED_WITHIN)?;
        if let Some(assigned) = self.assigned.get_mut(partition) {
            assigned.sought = to;
        }
        Ok(())
    }

    fn dead_letter_places(&mut self, Unfetchable { topic, partition, offsets, code, .. }: &Unfetchable) {
        let Some(topic) = self.topics.get(topic).cloned() else { return };
        tracing::warn!(topic = &*topic, partition, ?offsets, %code, "records cannot be fetched");
        for offset in offsets.clone() {
            self.route(Record::place_only(topic.clone(), *partition, offset, Fault::unfetchable(code)));
        }
    }
}
