//! How many records a transaction of a group takes, so that it ends within Postgres's limits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A full batch that is committed raises the limit by this part of it. A batch that overruns has cost all of the time that a
/// transaction may take, so the limit returns slowly to where that happened: from half of it in 23 full batches.
const GROWTH_PART: usize = 32;

/// The limit of a group's batches in this process, shared by its workers.
#[derive(Debug, Clone)]
pub(crate) struct BatchLimit(Arc<Mutex<Limit>>);

impl BatchLimit {
    /// At most `most` records, and at least one.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Limit::new(most))))
    }

    /// Records that the next transaction may have.
    pub(crate) fn now(&self) -> usize {
        self.limit().now
    }

    /// A transaction with so many records exceeded a limit of Postgres.
    pub(super) fn overran(&self, records: usize) {
        self.limit().overran(records);
    }

    /// A transaction with so many records was committed.
    pub(super) fn committed(&self, records: usize) {
        self.limit().committed(records);
    }

    fn limit(&self) -> MutexGuard<'_, Limit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Limit {
    now: usize,
    most: usize,
}

impl Limit {
    fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { now: most, most }
    }

    /// Half of the batch that overran. Several batches that overrun at once lower the limit once, not each by half.
    fn overran(&mut self, records: usize) {
        self.now = self.now.min(records / 2).max(1);
    }

    /// A batch with fewer records than the limit says nothing about it.
    fn committed(&mut self, records: usize) {
        if records >= self.now {
            self.now = (self.now + (self.now / GROWTH_PART).max(1)).min(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 5_000;

    #[test]
    fn the_batch_after_one_that_overran_is_half_as_large_down_to_one_record() {
        let mut limit = Limit::new(MOST);
        limit.overran(MOST);
        assert_eq!(limit.now, MOST / 2);
        limit.overran(300);
        assert_eq!(limit.now, 150, "half of what the batch had");
        for _ in 0..10 {
            limit.overran(limit.now);
        }
        assert_eq!(limit.now, 1);
    }

    #[test]
    fn batches_that_overrun_at_once_lower_the_limit_once() {
        let mut limit = Limit::new(MOST);
        for partition in [500, 400, 500] {
            limit.overran(partition);
        }
        assert_eq!(limit.now, 200);
    }

    #[test]
    fn only_full_batches_raise_the_limit() {
        let mut limit = Limit::new(MOST);
        limit.overran(640);
        limit.committed(319);
        assert_eq!(limit.now, 320);
        limit.committed(320);
        assert_eq!(limit.now, 330);
    }

    /// Records in the next batch while so many fit into a transaction, and whether the last one overran.
    fn step(limit: &mut Limit, fit: usize) -> bool {
        let overran = limit.now > fit;
        if overran {
            limit.overran(limit.now)
        } else {
            limit.committed(limit.now)
        }
        overran
    }

    proptest! {
        #[test]
        fn the_limit_stays_within_its_bounds(
            most in 0..MOST,
            batches in prop::collection::vec((any::<bool>(), 0..2 * MOST), 0..200),
        ) {
            let mut limit = Limit::new(most);
            for (overran, records) in batches {
                let before = limit.now;
                if overran { limit.overran(records) } else { limit.committed(records) }
                prop_assert!((1..=most.max(1)).contains(&limit.now));
                let right_way = if overran { limit.now <= before } else { limit.now >= before };
                prop_assert!(right_way, "from {before} to {}", limit.now);
                prop_assert!(!overran || records < 2 || limit.now < records);
            }
        }

        #[test]
        fn with_a_backlog_most_batches_fit_and_when_all_fit_again_the_limit_is_whole_again(fit in 64..MOST) {
            let mut limit = Limit::new(MOST);
            while step(&mut limit, fit) {}
            let overran = (0..230).filter(|_| step(&mut limit, fit)).count();
            prop_assert!(overran <= 11, "{overran} of 230");
            prop_assert!(limit.now > fit / 3);
            for _ in 0..250 {
                step(&mut limit, MOST);
            }
            prop_assert_eq!(limit.now, MOST);
        }
    }
}
