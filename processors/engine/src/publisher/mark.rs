//! The offset below which Elasticsearch has acknowledged the documents of a partition.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::offsets::Claim;
use crate::spans;

/// The publisher's mark of a claimed partition: the offset below which Elasticsearch has acknowledged every document, and the part
/// of it that is recorded in Postgres.
pub(crate) struct Mark {
    claim: RwLock<Claim>,
    acknowledged: AtomicI64,
    recorded: AtomicI64,
    fenced: AtomicBool,
}

impl Mark {
    /// The mark of a newly claimed partition.
    pub(crate) fn new(claim: Claim) -> Self {
        Self {
            claim: RwLock::new(claim),
            acknowledged: AtomicI64::default(),
            recorded: AtomicI64::default(),
            fenced: AtomicBool::default(),
        }
    }

    /// The claim under which the offset is recorded.
    pub(super) fn claim(&self) -> Claim {
        self.claim.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The partition was claimed again.
    pub(crate) fn set_claim(&self, claim: Claim) {
        *self.claim.write().unwrap_or_else(PoisonError::into_inner) = claim;
        self.fenced.store(false, Ordering::Relaxed);
    }

    /// Whether another worker was found to have claimed the partition.
    pub(crate) fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Relaxed)
    }

    /// Another worker has claimed the partition.
    pub(super) fn fence(&self) {
        self.fenced.store(true, Ordering::Relaxed);
    }

    /// The offset below which every document is in Elasticsearch or its refusal is a dead letter. The next batch's transaction
    /// records it; see [`recorded`](Self::recorded).
    pub(crate) fn acknowledged(&self) -> i64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub(super) fn acknowledge(&self, to: i64) {
        self.acknowledged.fetch_max(to, Ordering::Relaxed);
        if spans::is_on() {
            spans::acknowledged(&self.claim(), to);
        }
    }

    /// The `published` offset in Postgres is now `to`.
    pub(crate) fn recorded(&self, to: i64) {
        self.recorded.fetch_max(to, Ordering::Relaxed);
    }

    /// Whether an offset is recorded in Postgres.
    pub(super) fn is_recorded(&self, to: i64) -> bool {
        to <= self.recorded.load(Ordering::Relaxed)
    }
}

impl Drop for Mark {
    /// Documents that were not acknowledged are published by the next claim, maybe in another process.
    fn drop(&mut self) {
        if spans::is_on() {
            spans::given_back(&self.claim());
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use millrace_store::Group;

    pub(crate) fn claim(topic: &str, partition: i32) -> Claim {
        Claim {
            group: Group { id: "g".to_owned(), generation: 1 },
            topic: topic.to_owned(),
            partition,
            epoch: 1,
            applied: 0,
            published: 0,
            topic_id: None,
            answered_below: 0,
            held: false,
        }
    }

    #[test]
    fn a_mark_only_moves_forward_and_a_new_claim_ends_the_fence() {
        let mark = Mark::new(claim("t", 0));
        mark.acknowledge(20);
        mark.acknowledge(10);
        mark.recorded(20);
        assert!(mark.acknowledged() == 20 && mark.is_recorded(20) && !mark.is_recorded(21));
        mark.fence();
        assert!(mark.is_fenced());
        mark.set_claim(Claim { epoch: 2, ..claim("t", 0) });
        assert!(!mark.is_fenced() && mark.claim().epoch == 2);
    }
}
