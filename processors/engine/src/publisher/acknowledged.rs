//! Offsets and refusals that Elasticsearch has answered and that are not recorded in Postgres yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_store::consumer_offset::{self, PublishStep};

use super::{Mark, Reach};
use crate::database::Pool;
use crate::dead_letters;
use crate::elastic::Refusal;
use crate::error::WorkError;
use crate::offsets::Claim;

/// A partition: topic and number.
type Partition = (String, i32);

/// An offset that can be recorded now.
pub(super) struct Due {
    mark: Arc<Mark>,
    claim: Claim,
    to: i64,
}

#[derive(Default)]
pub(super) struct Acknowledged {
    reached: BTreeMap<Partition, Reach>,
    /// Refusals that are not dead letters yet.
    refusals: Vec<Refusal>,
}

impl Acknowledged {
    /// Adds the answer to a bulk; true when it must be recorded at once: no mark passes a refusal that is not a dead letter yet.
    pub(super) fn add(&mut self, reaches: Vec<Reach>, refusals: Vec<Refusal>) -> bool {
        self.refusals.extend(refusals);
        for (mark, to) in reaches {
            if self.refusals.is_empty() {
                mark.acknowledge(to);
            }
            let Claim { topic, partition, .. } = mark.claim();
            self.reached.insert((topic, partition), (mark, to));
        }
        !self.refusals.is_empty()
    }

    /// Whether anything can be recorded.
    pub(super) fn is_due(&self) -> bool {
        self.reached.values().any(|(mark, to)| self.is_unrecorded(mark, *to))
    }

    fn is_unrecorded(&self, mark: &Mark, to: i64) -> bool {
        !mark.is_fenced() && (!self.refusals.is_empty() || !mark.is_recorded(to))
    }

    /// The offsets that can be recorded; drops those that batches have recorded meanwhile.
    pub(super) fn due(&mut self) -> Vec<Due> {
        if self.refusals.is_empty() {
            self.reached.retain(|_, (mark, to)| !mark.is_recorded(*to));
        }
        let due = self.reached.values().filter(|(mark, to)| self.is_unrecorded(mark, *to));
        due.map(|(mark, to)| Due { mark: mark.clone(), claim: mark.claim(), to: *to }).collect()
    }

    /// Moves `published` of these partitions, fenced, and writes the refusals in the transaction of the first one that is still
    /// claimed by this worker; returns the partitions that are.
    pub(super) async fn record(
        &self,
        pool: &Pool,
        index: &str,
        due: &[Due],
    ) -> Result<Vec<Partition>, WorkError> {
        let Some(Due { claim: Claim { group, .. }, .. }) = due.first() else { return Ok(Vec::new()) };
        let mut transaction = pool.begin().await?;
        let steps: Vec<PublishStep<'_>> = due.iter().map(step).collect();
        let moved = consumer_offset::publish(&mut transaction, group, &steps).await?;
        if let Some(Due { claim, to, .. }) = due.iter().find(|due| due.is_among(&moved)) {
            for refusal in &self.refusals {
                let at = claim.place(*to - 1);
                dead_letters::refused(&mut transaction, group, &at, index, refusal).await?;
            }
        }
        transaction.commit().await?;
        Ok(moved)
    }

    /// `moved` were recorded; the other partitions were claimed by another worker.
    pub(super) fn recorded(&mut self, due: &[Due], moved: &[Partition]) {
        for due in due {
            if due.is_among(moved) {
                due.mark.acknowledge(due.to);
                due.mark.recorded(due.to);
            } else {
                due.mark.fence();
            }
        }
        if !moved.is_empty() {
            self.refusals.clear();
        }
        self.reached.retain(|_, (mark, to)| !mark.is_recorded(*to));
    }
}

fn step(Due { claim: Claim { topic, partition, epoch, .. }, to, .. }: &Due) -> PublishStep<'_> {
    (topic, *partition, *epoch, *to)
}

impl Due {
    fn is_among(&self, moved: &[Partition]) -> bool {
        moved
            .iter()
            .any(|(topic, partition)| *topic == self.claim.topic && *partition == self.claim.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::super::mark::tests::claim;
    use super::*;

    fn mark(partition: i32) -> Arc<Mark> {
        Arc::new(Mark::new(claim("t", partition)))
    }

    fn refusal() -> Refusal {
        Refusal { id: "a".to_owned(), version: 1, stream: None, reason: "too long".to_owned() }
    }

    #[test]
    fn what_is_acknowledged_counts_at_once_and_is_due_until_a_batch_has_recorded_it() {
        let (mut acknowledged, [one, other]) = (Acknowledged::default(), [mark(0), mark(1)]);
        assert!(!acknowledged.add(vec![(one.clone(), 10), (other.clone(), 7)], Vec::new()));
        assert_eq!((one.acknowledged(), other.acknowledged()), (10, 7));
        one.recorded(10);
        assert_eq!(acknowledged.due().iter().map(|due| due.to).collect::<Vec<_>>(), [7]);
        other.recorded(7);
        assert!(!acknowledged.is_due() && acknowledged.due().is_empty());
    }

    #[test]
    fn no_mark_passes_a_refusal_before_it_is_in_the_ledger() {
        let (mut acknowledged, one) = (Acknowledged::default(), mark(0));
        assert!(acknowledged.add(vec![(one.clone(), 10)], vec![refusal()]));
        assert!(acknowledged.add(vec![(one.clone(), 20)], Vec::new()), "the refusal still waits");
        assert_eq!(one.acknowledged(), 0);
        let due = acknowledged.due();
        acknowledged.recorded(&due, &[("t".to_owned(), 0)]);
        assert_eq!((one.acknowledged(), acknowledged.refusals.len()), (20, 0));
    }

    #[test]
    fn what_another_worker_has_claimed_waits_for_the_next_claim_and_holds_up_nothing() {
        let (mut acknowledged, [lost, kept]) = (Acknowledged::default(), [mark(0), mark(1)]);
        acknowledged.add(vec![(lost.clone(), 10), (kept.clone(), 10)], vec![refusal()]);
        let due = acknowledged.due();
        acknowledged.recorded(&due, &[("t".to_owned(), 1)]);
        assert!(lost.is_fenced() && lost.acknowledged() == 0 && kept.acknowledged() == 10);
        assert!(!acknowledged.is_due());
        lost.set_claim(Claim { epoch: 2, ..claim("t", 0) });
        assert!(acknowledged.is_due());
    }
}
