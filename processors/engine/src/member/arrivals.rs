//! Records that have arrived and wait for a batch.
//!
//! A partition is busy while a batch has records of it. Its later records wait, so that each partition is processed in order.

use std::collections::{HashMap, HashSet, VecDeque};

use super::Partition;
use crate::record::Record;

#[derive(Default)]
pub(super) struct Arrivals {
    waiting: HashMap<Partition, VecDeque<Record>>,
    /// Partitions that are not busy and have records, the one that has waited longest first.
    ready: VecDeque<Partition>,
    busy: HashSet<Partition>,
    /// The number of records of ready partitions.
    records: usize,
}

impl Arrivals {
    /// Adds a record that has arrived on a partition.
    pub(super) fn add(&mut self, partition: &Partition, record: Record) {
        let busy = self.busy.contains(partition);
        if !self.waiting.contains_key(partition) {
            self.waiting.insert(partition.clone(), VecDeque::new());
        }
        let Some(waiting) = self.waiting.get_mut(partition) else { return };
        if waiting.is_empty() && !busy {
            self.ready.push_back(partition.clone());
        }
        waiting.push_back(record);
        self.records += usize::from(!busy);
    }

    /// The number of records that the next batch could have.
    pub(super) fn ready(&self) -> usize {
        self.records
    }

    /// Takes the records of the next batch: at most `most`, and about `bytes_max` bytes.
    pub(super) fn take(&mut self, most: usize, bytes_max: usize) -> Vec<(Partition, Vec<Record>)> {
        let (mut taken, mut room, mut bytes) = (Vec::new(), most, 0);
        while room > 0
            && bytes < bytes_max
            && let Some((partition, records)) = self.take_next(room, bytes_max - bytes)
        {
            room -= records.len();
            bytes += records.iter().map(Record::bytes).sum::<usize>();
            taken.push((partition, records));
        }
        taken
    }

    /// Takes the first records of the partition that has waited longest, which is then busy: at most `most`, and `bytes_max` bytes
    /// unless the first record alone is larger.
    pub(super) fn take_next(&mut self, most: usize, bytes_max: usize) -> Option<(Partition, Vec<Record>)> {
        let partition = self.ready.pop_front()?;
        let waiting = self.waiting.entry(partition.clone()).or_default();
        let count = fitting(waiting, most, bytes_max);
        self.records -= waiting.len();
        let records = waiting.drain(..count).collect();
        self.busy.insert(partition.clone());
        Some((partition, records))
    }

    /// Whether a partition has neither a task nor waiting records.
    pub(super) fn is_idle(&self, partition: &Partition) -> bool {
        !self.busy.contains(partition) && self.waiting.get(partition).is_none_or(VecDeque::is_empty)
    }

    /// Whether a task is working on a partition.
    pub(super) fn is_busy(&self, partition: &Partition) -> bool {
        self.busy.contains(partition)
    }

    /// A task other than a batch begins for a partition; its records wait for it.
    pub(super) fn begin(&mut self, partition: &Partition) {
        if self.busy.insert(partition.clone()) {
            self.not_ready(partition);
        }
    }

    fn not_ready(&mut self, partition: &Partition) {
        self.records -= self.waiting.get(partition).map_or(0, VecDeque::len);
        self.ready.retain(|ready| ready != partition);
    }

    /// A partition's batch or task has ended.
    pub(super) fn end(&mut self, partition: &Partition) {
        let waiting = self.waiting.get(partition).map_or(0, VecDeque::len);
        if self.busy.remove(partition) && waiting > 0 {
            self.records += waiting;
            self.ready.push_back(partition.clone());
        }
    }

    /// Drops the waiting records of a partition that was given back.
    pub(super) fn forget(&mut self, partition: &Partition) {
        if !self.busy.remove(partition) {
            self.not_ready(partition);
        }
        self.waiting.remove(partition);
    }
}

/// How many of the first records to take: at most `most`, at most `bytes_max` bytes, at least one.
fn fitting(records: &VecDeque<Record>, most: usize, bytes_max: usize) -> usize {
    let sums = records.iter().scan(0, |sum, record| {
        *sum += record.bytes();
        Some(*sum)
    });
    sums.take(most).take_while(|sum| *sum <= bytes_max).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: i32) -> Partition {
        ("t".into(), number)
    }

    fn arrived(records: &[(i32, i64)]) -> Arrivals {
        let mut arrivals = Arrivals::default();
        for (number, offset) in records {
            let record = Record::at("t", *number, *offset, None, Some(vec![0; 100].into()), Vec::new());
            arrivals.add(&partition(*number), record);
        }
        arrivals
    }

    /// Partition and offsets.
    fn taken(taken: Vec<(Partition, Vec<Record>)>) -> Vec<(i32, Vec<i64>)> {
        let offsets = |records: Vec<Record>| records.iter().map(|record| record.offset).collect();
        taken.into_iter().map(|((_, number), records)| (number, offsets(records))).collect()
    }

    #[test]
    fn a_batch_takes_what_has_arrived_on_all_partitions() {
        let mut arrivals = arrived(&[(0, 4), (1, 9), (0, 5)]);
        assert_eq!(arrivals.ready(), 3);
        assert_eq!(taken(arrivals.take(10, 1 << 20)), [(0, vec![4, 5]), (1, vec![9])]);
        assert_eq!((arrivals.ready(), arrivals.take(10, 1 << 20).len()), (0, 0));
    }

    #[test]
    fn what_arrives_on_a_partition_that_is_busy_waits_for_its_batch() {
        let mut arrivals = arrived(&[(0, 4), (1, 9)]);
        arrivals.take(10, 1 << 20);
        let late = Record::at("t", 0, 5, None, None, Vec::new());
        arrivals.add(&partition(0), late);
        assert_eq!((arrivals.ready(), taken(arrivals.take(10, 1 << 20))), (0, vec![]));
        arrivals.end(&partition(0));
        arrivals.end(&partition(1));
        assert_eq!((arrivals.ready(), taken(arrivals.take(10, 1 << 20))), (1, vec![(0, vec![5])]));
    }

    #[test]
    fn a_batch_has_so_many_records_and_bytes_at_most_but_one_record() {
        let records = [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)];
        assert_eq!(taken(arrived(&records).take(2, 1 << 20)), [(0, vec![1, 2])]);
        assert_eq!(taken(arrived(&records).take(4, 1 << 20)), [(0, vec![1, 2, 3]), (1, vec![1])]);
        assert_eq!(taken(arrived(&records).take(9, 350)), [(0, vec![1, 2, 3]), (1, vec![1])]);
        assert_eq!(taken(arrived(&records).take(9, 1)), [(0, vec![1])]);
    }

    #[test]
    fn the_partition_that_waits_longest_goes_first() {
        let mut arrivals = arrived(&[(0, 1), (0, 2), (1, 1)]);
        assert_eq!(taken(arrivals.take(1, 1 << 20)), [(0, vec![1])]);
        arrivals.end(&partition(0));
        assert_eq!(taken(arrivals.take(9, 1 << 20)), [(1, vec![1]), (0, vec![2])]);
    }

    #[test]
    fn nothing_of_a_partition_that_was_given_back_is_taken() {
        let mut arrivals = arrived(&[(0, 1), (1, 1), (2, 1)]);
        arrivals.forget(&partition(1));
        arrivals.begin(&partition(2));
        arrivals.forget(&partition(2));
        assert_eq!(taken(arrivals.take(9, 1 << 20)), [(0, vec![1])]);
        assert!(arrivals.is_idle(&partition(2)) && arrivals.is_busy(&partition(0)));
    }
}
