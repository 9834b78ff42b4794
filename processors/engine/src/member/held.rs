//! Held partitions: those that were added to a topic while the group was reading it. A key that moves to a new partition has
//! earlier records in its former one. The new partitions are not fetched until those are applied.
//!
//! Guarantee: the records that a producer has sent to the former partition are applied, or parked in the order of their key,
//! before those that it sends to the new one, if its client learns of the new partitions, and gives up undelivered records,
//! while the partitions are held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_store::Group;
use millrace_store::consumer_offset::{self, Held, Mark, Stand};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaResult;

use super::{GroupConsumer, Member, Partition, claims};
use crate::database::Pool;
use crate::error::WorkError;
use crate::offsets::Claim;
use crate::retry::Retries;
use crate::role::Role;

/// By topic and first added partition: the end offsets of the lower partitions, read after the hold time (`topics.growth_hold`) was
/// over, when producers no longer use the former number of partitions.
pub(super) type Ends = BTreeMap<(String, i32), Vec<Stand>>;

pub(super) fn place(claim: &Claim) -> Partition {
    (claim.topic.as_str().into(), claim.partition)
}

/// The partitions of a list that are chosen.
pub(super) fn only(list: &TopicPartitionList, chosen: impl Fn(&Partition) -> bool) -> TopicPartitionList {
    let of = |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        (element.topic().into(), element.partition())
    };
    listed(list.elements().into_iter().map(of).filter(chosen))
}

pub(super) fn listed(partitions: impl IntoIterator<Item = Partition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in partitions {
        list.add_partition(&topic, partition);
    }
    list
}

/// Releases held partitions whose condition is met; any member may do it. Returns the known end offsets and those of `held` that
/// are held no longer: none when the database or Kafka does not answer.
pub(super) async fn look(
    consumer: Arc<GroupConsumer>,
    role: Arc<dyn Role>,
    mut ends: Ends,
    held: BTreeSet<Partition>,
) -> (Ends, BTreeSet<Partition>) {
    let released = match still_held(&consumer, role.database(), &role.group().id, &mut ends).await {
        Ok(still) => {
            held.into_iter().filter(|partition| !still.iter().any(|one| has(one, partition))).collect()
        }
        Err(error) => {
            tracing::debug!(%error, "held partitions not checked");
            BTreeSet::new()
        }
    };
    (ends, released)
}

fn has(held: &Held, (topic, partition): &Partition) -> bool {
    *held.topic == **topic && (held.first..=held.last).contains(partition)
}

async fn still_held(
    consumer: &Arc<GroupConsumer>,
    pool: &Pool,
    group: &str,
    ends: &mut Ends,
) -> Result<Vec<Held>, WorkError> {
    let held = pool.in_time(async { Ok(consumer_offset::held(&**pool, Some(group)).await?) }).await?;
    let mut still = Vec::new();
    for one in held {
        if one.is_over && is_applied(consumer, pool, ends, &one).await? {
            pool.in_time(async { Ok(consumer_offset::let_go(&**pool, &one).await?) }).await?;
            ends.remove(&(one.topic.clone(), one.below));
            let Held { topic, first, last, .. } = one;
            tracing::info!(group, topic, first, last, "partitions are held no longer");
        } else {
            still.push(one);
        }
    }
    Ok(still)
}

/// Whether the group has applied the lower partitions up to their end offsets.
async fn is_applied(
    consumer: &Arc<GroupConsumer>,
    pool: &Pool,
    ends: &mut Ends,
    Held { group, topic, below, .. }: &Held,
) -> Result<bool, WorkError> {
    let key = (topic.clone(), *below);
    if !ends.contains_key(&key) {
        let lower: Vec<Partition> = (0..*below).map(|partition| (topic.as_str().into(), partition)).collect();
        let marks = claims::watermarks(consumer, &lower).await?;
        let stands = marks.into_iter().map(|((topic, partition), (_, end))| (topic, partition, end));
        ends.insert(key.clone(), stands.collect());
    }
    let stands = ends.get(&key).map(Vec::as_slice).unwrap_or_default();
    let group = Group { id: group.clone(), generation: 1 };
    let behind = async { Ok(consumer_offset::behind(&**pool, &group, Mark::Applied, stands).await?) };
    Ok(pool.in_time(behind).await? == 0)
}

impl Member {
    /// Pauses these partitions.
    pub(super) fn hold(&mut self, partitions: Vec<Partition>) {
        if partitions.is_empty() {
            return;
        }
        tracing::info!(group = self.name(), ?partitions, "partitions are held");
        self.report(self.consumer.pause(&listed(partitions.iter().cloned())));
        self.held.extend(partitions);
    }

    /// Checks which partitions are still held, if any.
    pub(super) fn look_at_held(
        &self,
        ends: &mut Ends,
    ) -> Option<impl Future<Output = (Ends, BTreeSet<Partition>)> + use<>> {
        let (_, Retries { role, .. }) = self.lanes.values().next().filter(|_| !self.held.is_empty())?;
        Some(look(self.consumer.clone(), role.clone(), std::mem::take(ends), self.held.clone()))
    }

    /// Fetches partitions that are held no longer and were not given back meanwhile.
    pub(super) fn fetch_released(&mut self, released: BTreeSet<Partition>) {
        let (released, held): (BTreeSet<_>, BTreeSet<_>) =
            std::mem::take(&mut self.held).into_iter().partition(|partition| released.contains(partition));
        self.held = held;
        // If all partitions are paused because the buffer is full, these are resumed with all others.
        if !self.paused && !released.is_empty() {
            self.report(self.consumer.resume(&listed(released)));
        }
    }

    pub(super) fn report(&self, changed: KafkaResult<()>) {
        if let Err(error) = changed {
            tracing::warn!(group = self.name(), %error, "partitions not paused or resumed");
        }
    }
}
