//! From the outcome of each record to what follows for its key. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::Failure;
use super::blocked::Blocked;
use crate::outcome::Outcome;
use crate::record::Record;

/// What follows from the records of a batch that did not simply apply.
pub(super) struct Triage<'b> {
    /// Records that failed for the first time, at most one for each key.
    pub(super) failures: Vec<Failure<'b>>,
    /// Records that wait behind another record of their key.
    pub(super) waiting: Vec<&'b Record>,
    /// Keys to drain: a record of theirs applied while others wait.
    pub(super) again: BTreeSet<Vec<u8>>,
    /// Keys that wait for a missing version.
    pub(super) gaps: BTreeSet<Vec<u8>>,
}

impl Triage<'_> {
    /// Whether every record simply applied.
    pub(super) fn is_plain(&self) -> bool {
        self.failures.is_empty() && self.waiting.is_empty() && self.again.is_empty()
    }
}

/// Sorts the outcomes of the records that the role has folded (`shown`); records `behind` a blocked key were not folded.
pub(super) fn triage<'b>(
    shown: &[&'b Record],
    outcomes: Vec<Outcome>,
    behind: Vec<&'b Record>,
    blocked: &BTreeMap<Vec<u8>, Blocked>,
) -> Triage<'b> {
    let (mut failures, mut waiting) = (Vec::new(), behind);
    let (mut applied, mut failed): (BTreeSet<&[u8]>, BTreeSet<&[u8]>) = Default::default();
    // Most batches have neither a blocked key nor a waiting record.
    let troubled = !blocked.is_empty() || outcomes.contains(&Outcome::Waits);
    for (record, outcome) in shown.iter().copied().zip(outcomes) {
        match outcome {
            Outcome::Applied if troubled => {
                applied.insert(record.ordering_key());
            }
            Outcome::Applied | Outcome::Duplicate => {}
            Outcome::Waits => waiting.push(record),
            // The key already has a blocking record: this is a second copy of it, or a later record that cannot be decoded yet.
            Outcome::Failed(fault) if !fault.hopeless && has_blocking_record(record, blocked, &failed) => {
                waiting.push(record);
            }
            Outcome::Failed(fault) => {
                if !fault.hopeless {
                    failed.insert(record.ordering_key());
                }
                failures.push(Failure { record, fault, attempts: 1 });
            }
        }
    }
    let parked: BTreeSet<&[u8]> = waiting.iter().map(|record| record.ordering_key()).collect();
    let again = applied.iter().filter(|key| !failed.contains(*key));
    let again: BTreeSet<Vec<u8>> = again
        .filter(|key| blocked.contains_key(**key) || parked.contains(*key))
        .map(|key| key.to_vec())
        .collect();
    let gaps = parked.iter().filter(|key| !failed.contains(*key) && !blocked.contains_key(**key));
    let gaps = gaps.map(|key| key.to_vec()).collect();
    Triage { failures, waiting, again, gaps }
}

fn has_blocking_record(
    record: &Record,
    blocked: &BTreeMap<Vec<u8>, Blocked>,
    failed: &BTreeSet<&[u8]>,
) -> bool {
    let is_blocked = |key: &[u8]| blocked.get(key).is_some_and(|blocked| blocked.blocking.is_some());
    is_blocked(record.ordering_key()) || failed.contains(record.ordering_key())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;
    use millrace_store::blocked_key::Status;

    fn records(keys: &[&str]) -> Vec<Record> {
        let record = |(offset, key): (usize, &&str)| Record {
            topic: "t".into(),
            partition: 0,
            offset: offset as i64,
            timestamp_ms: None,
            key: Some(key.as_bytes().to_vec().into()),
            value: None,
            headers: Default::default(),
            unread: None,
            ordering_key: Default::default(),
            room: None,
        };
        keys.iter().enumerate().map(record).collect()
    }

    fn failed() -> Outcome {
        Outcome::Failed(Fault::new("test", "fails"))
    }

    /// Failed offsets, waiting offsets, keys to drain, keys with a gap.
    fn sorted(
        keys: &[&str],
        outcomes: Vec<Outcome>,
        blocked: &[&str],
    ) -> (Vec<i64>, Vec<i64>, Vec<String>, Vec<String>) {
        let records = records(keys);
        let shown: Vec<&Record> = records.iter().collect();
        let blocking =
            |key: &&str| (key.as_bytes().to_vec(), Blocked::at(Status::Retrying, &records[0], 1, None));
        let blocked = blocked.iter().map(blocking).collect();
        let triage = triage(&shown, outcomes, Vec::new(), &blocked);
        let names =
            |keys: BTreeSet<Vec<u8>>| keys.into_iter().map(|key| String::from_utf8(key).unwrap()).collect();
        (
            triage.failures.iter().map(|failure| failure.record.offset).collect(),
            triage.waiting.iter().map(|record| record.offset).collect(),
            names(triage.again),
            names(triage.gaps),
        )
    }

    #[test]
    fn a_batch_that_applies_has_no_consequences() {
        assert_eq!(
            sorted(&["a", "b"], vec![Outcome::Applied, Outcome::Duplicate], &[]),
            (vec![], vec![], vec![], vec![])
        );
    }

    #[test]
    fn what_is_behind_a_failed_record_waits_for_it_and_is_no_gap() {
        assert_eq!(
            sorted(&["a", "a", "b"], vec![failed(), Outcome::Waits, Outcome::Applied], &[]),
            (vec![0], vec![1], vec![], vec![])
        );
    }

    #[test]
    fn a_key_that_waits_for_nothing_in_sight_has_a_gap() {
        assert_eq!(
            sorted(&["a"], vec![Outcome::Waits], &[]),
            (vec![], vec![0], vec![], vec!["a".to_owned()])
        );
    }

    #[test]
    fn a_blocked_key_goes_on_once_something_of_it_applied() {
        let expected = (vec![], vec![], vec!["a".to_owned()], vec![]);
        assert_eq!(sorted(&["a"], vec![Outcome::Applied], &["a"]), expected);
        assert_eq!(sorted(&["a"], vec![Outcome::Duplicate], &["a"]), (vec![], vec![], vec![], vec![]));
    }

    #[test]
    fn a_gap_that_the_same_batch_fills_is_drained() {
        let (_, waiting, again, _) = sorted(&["a", "a"], vec![Outcome::Waits, Outcome::Applied], &[]);
        assert_eq!((waiting, again), (vec![0], vec!["a".to_owned()]));
    }

    #[test]
    fn what_fails_behind_a_blocking_record_is_not_counted_and_waits() {
        assert_eq!(sorted(&["a"], vec![failed()], &["a"]), (vec![], vec![0], vec![], vec![]));
        let (failures, waiting, ..) = sorted(&["a", "a"], vec![failed(), failed()], &[]);
        assert_eq!((failures, waiting), (vec![0], vec![1]));
    }

    #[test]
    fn the_missing_record_of_a_gap_that_fails_is_its_new_blocking_record() {
        let records = records(&["a"]);
        let blocked = BTreeMap::from([(b"a".to_vec(), Blocked::gap())]);
        let triage = triage(&[&records[0]], vec![failed()], Vec::new(), &blocked);
        assert_eq!(triage.failures.len(), 1);
    }

    #[test]
    fn a_hopeless_record_blocks_nothing() {
        let hopeless = Outcome::Failed(Fault::hopeless("test", "never"));
        let (failures, _, again, gaps) = sorted(&["a", "a"], vec![hopeless, Outcome::Applied], &[]);
        assert_eq!((failures, again, gaps), (vec![0], vec![], vec![]));
    }
}
