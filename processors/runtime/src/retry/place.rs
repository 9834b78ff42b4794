//! Where a record lies, and the key whose order it keeps.

use crate::record::Record;

/// Longer keys do not fit into an index; a record that has one cannot wait for its turn.
const KEY_BYTES_MAX: usize = 1_024;

/// Where a record lies in Kafka.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl Place {
    /// Where `record` lies.
    pub fn of(record: &Record) -> Self {
        Self { topic: record.topic.to_string(), partition: record.partition, offset: record.offset }
    }
}

/// The key whose order a record keeps; `None` when it has none that can be kept: it then has no place to wait in.
pub(super) fn key(record: &Record) -> Option<&[u8]> {
    record.turn().filter(|key| key.len() <= KEY_BYTES_MAX)
}
