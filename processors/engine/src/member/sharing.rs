//! Partitions that the shared client fetches for a member.
//!
//! The member's own client reads on until it has reached the offset from which the shared client delivers; what arrives meanwhile
//! waits. Then the own client is paused there, and stays a member of the group. When the shared client ends the reading, it goes on.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use millrace_kafka::fetched_end;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::{Assigned, Member, Partition, held};
use crate::failpoints::{self, broken, mechanism};
use crate::fetch::{Arrival, Handle, What};
use crate::record::Record;

/// A partition with at most so many records that were not fetched yet is at its end: sharing gains nothing for one that is behind.
const NEAR_END: i64 = 1_000;
/// How many arrivals are handled before other events.
const ARRIVALS_AT_ONCE: usize = 500;
/// The timeout of seeks, which the client's own thread performs.
const MOVED_WITHIN: Duration = Duration::from_secs(5);

/// The reading of a partition by the shared client.
pub(super) struct Reading {
    handle: Handle,
    /// The next offset of the own client when it asked.
    asked: i64,
    /// The offset from which the shared client delivers, once it has told.
    begins: Option<i64>,
    /// What it has delivered before the own client had read to there.
    early: VecDeque<Record>,
    /// Offsets below this one are delivered, or have no record.
    read_to: i64,
    /// Whether the own client is paused.
    taken_over: bool,
}

impl Reading {
    fn new(handle: Handle, asked: i64) -> Self {
        Self { handle, asked, begins: None, early: VecDeque::new(), read_to: 0, taken_over: false }
    }

    /// Whether the own client, of which this is the next offset, has read to where the shared one begins.
    fn may_take_over(&self, next: i64) -> bool {
        !self.taken_over && self.begins.is_some_and(|begins| next >= begins)
    }
}

impl Assigned {
    fn is_shared(&self) -> bool {
        self.shared.as_ref().is_some_and(|reading| reading.taken_over)
    }
}

impl Member {
    /// Whether the shared client fetches a partition, and the own one does not.
    pub(super) fn is_shared(&self, partition: &Partition) -> bool {
        self.assigned.get(partition).is_some_and(Assigned::is_shared)
    }

    /// Whether the own client fetches nothing.
    pub(super) fn all_are_shared(&self) -> bool {
        self.assigned.values().all(Assigned::is_shared)
    }

    /// Whether the shared client delivers this record, which the own one has fetched.
    pub(super) fn is_delivered_by_shared(&mut self, record: &Record) -> bool {
        let partition = (record.topic.clone(), record.partition);
        let reading = self.assigned.get(&partition).and_then(|assigned| assigned.shared.as_ref());
        if reading.is_some_and(|reading| reading.may_take_over(record.offset)) {
            self.take_over(vec![partition.clone()]);
        }
        self.is_shared(&partition)
    }

    /// How far the shared client has read.
    pub(super) fn read_to_shared(&self) -> Vec<(Partition, i64)> {
        let read_to = |(partition, assigned): (&Partition, &Assigned)| {
            let reading = assigned.shared.as_ref().filter(|reading| reading.taken_over)?;
            Some((partition.clone(), reading.read_to))
        };
        self.assigned.iter().filter_map(read_to).collect()
    }

    /// Asks the shared client for the partitions at whose end the own client is, and pauses those that it may take over.
    pub(super) fn share_fetch(&mut self) {
        if self.paused || self.looking || !self.waiting.is_empty() || self.all_are_shared() {
            return;
        }
        let nexts = self.nexts();
        let unshared = |(partition, _): &(&Partition, &i64)| {
            self.assigned.get(*partition).is_some_and(|assigned| assigned.shared.is_none())
                && !self.held.contains(*partition)
        };
        let at_end: Vec<(Partition, i64)> = nexts
            .iter()
            .filter(unshared)
            .filter(|((topic, partition), next)| self.is_near_end(topic, *partition, **next))
            .map(|(partition, next)| (partition.clone(), *next))
            .collect();
        at_end.into_iter().for_each(|(partition, next)| self.ask_shared(partition, next));
        self.take_over_read(&nexts);
    }

    fn is_near_end(&self, topic: &str, partition: i32, next: i64) -> bool {
        let end = fetched_end(self.consumer.client(), topic, partition);
        // The known end is older than the next offset when the partition has not been fetched since it was assigned.
        end.is_some_and(|end| (0..=NEAR_END).contains(&(end - next)))
    }

    fn ask_shared(&mut self, partition: Partition, next: i64) {
        let Some((lane, _)) = self.lanes.get(&*partition.0) else { return };
        let (room, arrivals) = (self.room.clone(), self.sender_shared.clone());
        let handle = self.settings.fetch.read(*lane, partition.clone(), next, room, arrivals);
        if let Some(assigned) = self.assigned.get_mut(&partition) {
            assigned.shared = Some(Reading::new(handle, next));
        }
    }

    /// Lets the shared client take over the partitions that the own one has read to where it begins.
    fn take_over_read(&mut self, nexts: &HashMap<Partition, i64>) {
        let may = |(partition, assigned): (&Partition, &Assigned)| {
            let next = nexts.get(partition)?;
            let reading = assigned.shared.as_ref()?;
            reading.may_take_over(*next).then(|| partition.clone())
        };
        let ready = self.assigned.iter().filter_map(may).collect();
        self.take_over(ready);
    }

    /// Pauses the own client and delivers what has waited; later, while what the own client has fetched waits for room.
    fn take_over(&mut self, partitions: Vec<Partition>) {
        if partitions.is_empty() || !self.waiting.is_empty() {
            return;
        }
        // A record that is fetched all the same is dropped.
        self.report(self.consumer.pause(&held::listed(partitions.iter().cloned())));
        for partition in partitions {
            let reading = self.assigned.get_mut(&partition).and_then(|assigned| assigned.shared.as_mut());
            let early = reading.map(|reading| {
                reading.taken_over = true;
                std::mem::take(&mut reading.early)
            });
            early.into_iter().flatten().for_each(|record| self.deliver(record));
        }
    }

    /// Leaves the readings that have not begun, and what of them waits.
    pub(super) fn share_no_early(&mut self) {
        for assigned in self.assigned.values_mut().filter(|assigned| !assigned.is_shared()) {
            assigned.shared = None;
        }
    }

    /// Handles what the shared client tells; false when the own client refuses to go on.
    pub(super) fn arrived_shared(&mut self, first: Arrival) -> bool {
        let (mut next, mut begun, mut ended) = (Some(first), false, Vec::new());
        for left in (0..ARRIVALS_AT_ONCE).rev() {
            let Some(arrival) = next.take() else { break };
            begun |= matches!(arrival.what, What::Begins(_));
            ended.extend(self.arrive(arrival));
            next = if left > 0 { self.arrivals_shared.try_recv().ok() } else { None };
        }
        if begun {
            let nexts = self.nexts();
            self.take_over_read(&nexts);
        }
        self.fetch_alone(ended)
    }

    /// Handles one arrival; a partition and its next offset when its reading has ended.
    fn arrive(&mut self, Arrival { reading, topic, partition, what }: Arrival) -> Option<(Partition, i64)> {
        let partition = (topic, partition);
        let assigned = self.assigned.get_mut(&partition)?;
        let known = assigned.shared.as_mut().filter(|known| known.handle.id == reading)?;
        match what {
            // The end that was known is old: the own client has too far to go.
            What::Begins(at) if at - known.asked > NEAR_END => assigned.shared = None,
            What::Begins(at) => known.begins = Some(at),
            What::ReadTo(offset) => known.read_to = offset,
            What::Record(record) => {
                failpoints::poison(failpoints::POISON_MEMBER, &record);
                self.error_logged = false;
                match known.taken_over {
                    true => self.deliver(*record),
                    false => known.early.push_back(*record),
                }
            }
            What::Ends(at) => {
                let was_taken_over = known.taken_over;
                assigned.shared = None;
                return was_taken_over.then_some((partition, at));
            }
        }
        None
    }

    /// Lets the own client go on at these offsets; false when it refuses.
    fn fetch_alone(&mut self, ended: Vec<(Partition, i64)>) -> bool {
        if ended.is_empty() {
            return true;
        }
        let partitions: BTreeSet<Partition> = ended.iter().map(|(partition, _)| partition.clone()).collect();
        let moved = self.move_to(&ended).and_then(|()| match self.paused {
            true => Ok(()),
            false => self.consumer.resume(&held::listed(partitions)),
        });
        if let Err(error) = &moved {
            tracing::error!(group = self.name(), %error, "the client does not go on where the shared one has ended");
        }
        moved.is_ok()
    }

    fn move_to(&mut self, ended: &[(Partition, i64)]) -> KafkaResult<()> {
        let skipped = i64::from(broken(mechanism::FETCH_END));
        let mut list = TopicPartitionList::with_capacity(ended.len());
        for ((topic, partition), at) in ended {
            list.add_partition_offset(topic, *partition, Offset::Offset(*at + skipped))?;
        }
        if let Err(error) = self.seek_all(list.clone()) {
            // The client refuses to seek in a partition that it has not begun to fetch.
            tracing::debug!(%error, "partitions are assigned again where the shared client has ended");
            self.consumer.incremental_unassign(&list)?;
            self.consumer.incremental_assign(&list)?;
        }
        for (partition, at) in ended {
            if let Some(assigned) = self.assigned.get_mut(partition) {
                assigned.sought = *at;
            }
        }
        Ok(())
    }

    fn seek_all(&self, list: TopicPartitionList) -> KafkaResult<()> {
        let sought = self.consumer.seek_partitions(list, MOVED_WITHIN)?;
        sought.elements().iter().try_for_each(|element| element.error())
    }
}
