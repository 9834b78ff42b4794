//! The place of a record in Kafka.

/// The place of a record: topic, partition and offset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// Places (topic, partition, offset) as three arrays for `UNNEST`.
pub(crate) fn columns<'p>(
    places: impl IntoIterator<Item = (&'p str, i32, i64)>,
) -> (Vec<&'p str>, Vec<i32>, Vec<i64>) {
    places.into_iter().collect()
}
