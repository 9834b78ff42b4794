//! Parts of a batch, whose records are in offset order.

use crate::record::Record;

/// Removes the records below `offset` from a batch and returns them.
pub(super) fn extract_below(batch: &mut Vec<Record>, offset: i64) -> Vec<Record> {
    let rest = batch.split_off(batch.partition_point(|record| record.offset < offset));
    std::mem::replace(batch, rest)
}

/// The records of a batch below `offset`.
pub(super) fn before(batch: &[Record], offset: i64) -> &[Record] {
    batch.get(..batch.partition_point(|record| record.offset < offset)).unwrap_or_default()
}

/// The records of a batch from `offset` on.
pub(super) fn after(batch: &[Record], offset: i64) -> &[Record] {
    batch.get(batch.partition_point(|record| record.offset < offset)..).unwrap_or_default()
}

/// The first records of a batch that take at most `bytes_max` bytes; at least one record.
pub(super) fn within(batch: &[Record], bytes_max: usize) -> &[Record] {
    let sums = batch.iter().scan(0, |sum, record| {
        *sum += record.bytes();
        Some(*sum)
    });
    let count = sums.take_while(|sum| *sum <= bytes_max).count().max(1);
    batch.get(..count).unwrap_or(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(offsets: &[i64]) -> Vec<Record> {
        let record = |offset: &i64| Record {
            topic: "t".into(),
            partition: 0,
            offset: *offset,
            timestamp_ms: None,
            key: None,
            value: None,
            headers: Default::default(),
            unread: None,
            ordering_key: Default::default(),
            room: None,
        };
        offsets.iter().map(record).collect()
    }

    fn offsets(batch: &[Record]) -> Vec<i64> {
        batch.iter().map(|record| record.offset).collect()
    }

    #[test]
    fn records_that_were_applied_before_are_separated_from_those_that_were_not() {
        let mut records = batch(&[3, 4, 7, 8]);
        let before = extract_below(&mut records, 7);
        assert_eq!((offsets(&before), offsets(&records)), (vec![3, 4], vec![7, 8]));
    }

    #[test]
    fn a_batch_goes_on_after_the_offset_that_postgres_knows() {
        let records = batch(&[3, 4, 7]);
        assert_eq!(offsets(after(&records, 0)), [3, 4, 7]);
        assert_eq!(offsets(after(&records, 5)), [7]);
        assert_eq!(offsets(after(&records, 8)), [0; 0]);
        assert_eq!(offsets(before(&records, 5)), [3, 4]);
    }

    #[test]
    fn a_batch_ends_before_it_is_too_large_and_has_one_record_at_least() {
        let record = |offset: i64| Record { value: Some(vec![0; 100].into()), ..batch(&[offset]).remove(0) };
        let records: Vec<Record> = [3, 4, 7].map(record).into();
        assert_eq!(offsets(within(&records, 200)), [3, 4]);
        assert_eq!(offsets(within(&records, 300)), [3, 4, 7]);
        assert_eq!(offsets(within(&records, 99)), [3]);
        assert_eq!(offsets(within(&[], 100)), [0; 0]);
    }
}
