//! The mirror: the copy of the applied offsets in Kafka; and the client's positions.

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::{Member, Partition};
use crate::offsets::Claim;

impl Member {
    /// The next offsets of the clients. They skip transaction markers and records of aborted transactions, beyond which no record
    /// moves the applied offset.
    pub(super) fn read_to(&self) -> Vec<(Partition, i64)> {
        let mut read = self.read_to_shared();
        // Records that wait for room were read, but no worker has them.
        if !self.waiting.is_empty() || self.all_are_shared() {
            return read;
        }
        let Ok(positions) = self.consumer.position() else { return read };
        let elements = positions.elements();
        let own = elements.iter().filter_map(|element| match element.offset() {
            Offset::Offset(offset) => Some(((element.topic().into(), element.partition()), offset)),
            _ => None,
        });
        read.extend(own.filter(|(partition, _)| !self.is_shared(partition)));
        read
    }

    /// Commits the applied offsets to Kafka, for its tools only: the offsets in Postgres are authoritative.
    pub(super) fn mirror(&mut self, mode: CommitMode) {
        let mut moved = Vec::new();
        for assigned in self.assigned.values_mut() {
            let claim = assigned.position.borrow().clone();
            if claim.applied != assigned.mirrored {
                assigned.mirrored = claim.applied;
                moved.push(claim);
            }
        }
        if !moved.is_empty()
            && let Err(error) = self.consumer.commit(&mirror_list(&moved), mode)
        {
            tracing::debug!(%error, "offsets not mirrored to Kafka");
        }
    }
}

pub(super) fn mirror_list<'c>(claims: impl IntoIterator<Item = &'c Claim>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for claim in claims {
        let mut element = list.add_partition(&claim.topic, claim.partition);
        element.set_metadata(claim.stamp().to_string());
        if let Err(error) = element.set_offset(Offset::Offset(claim.applied)) {
            tracing::debug!(%error, "offset not mirrored");
        }
    }
    list
}
