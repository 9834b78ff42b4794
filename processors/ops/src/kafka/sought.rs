//! Which of the last records of partitions are still to be read.

use std::collections::BTreeMap;

use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::Partition;

/// Partitions that are read up to their ends.
pub(super) struct Sought {
    /// The last offset of each remaining partition.
    pub(super) last: BTreeMap<Partition, i64>,
    /// By partition number, how many remaining partitions have it: the client's end-of-partition event does not name the topic.
    ends: BTreeMap<i32, usize>,
}

impl Sought {
    /// The partitions that are not empty.
    pub(super) fn of(ends: &BTreeMap<Partition, (i64, i64)>) -> Self {
        let filled = ends.iter().filter(|(_, (first, end))| first < end);
        let last: BTreeMap<Partition, i64> = filled.map(|(at, (_, end))| (at.clone(), end - 1)).collect();
        let mut ends = BTreeMap::new();
        last.keys().for_each(|(_, number)| *ends.entry(*number).or_default() += 1);
        Self { last, ends }
    }

    /// The offsets to start at: some offsets before the end, since the last one may be a transaction marker.
    pub(super) fn list(&self, ends: &BTreeMap<Partition, (i64, i64)>) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (at, last) in &self.last {
            let first = ends.get(at).map_or(*last, |(first, _)| *first);
            list.add_partition_offset(&at.0, at.1, Offset::Offset((last - 1).max(first)))?;
        }
        Ok(list)
    }

    pub(super) fn saw(&mut self, (topic, number, offset): (&str, i32, i64)) {
        self.last.retain(|at, last| at.0 != topic || at.1 != number || offset < *last);
    }

    pub(super) fn ended(&mut self, number: i32) {
        let left = self.ends.entry(number).or_default();
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.last.retain(|at, _| at.1 != number);
        }
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
