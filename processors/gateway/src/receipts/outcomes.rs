//! Waiting for outcomes: one query at a time for all commands that are waited for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millrace_ops::receipts::{Receipt, Receipts, Recorded};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// The delay between queries while a command is waited for.
const ASKED_EVERY: Duration = Duration::from_millis(25);
/// The delay after a query that failed.
const FAILED_FOR: Duration = Duration::from_secs(1);

/// Source and id of a command.
type Identity = (String, String);

/// One request that waits.
struct Waiting {
    /// Partition and offset of its record.
    place: (i32, i64),
    told: oneshot::Sender<Recorded>,
}

/// The requests that wait, by command.
#[derive(Default)]
pub(super) struct Outcomes {
    waiting: Mutex<HashMap<Identity, Vec<Waiting>>>,
    more: Notify,
}

impl Outcomes {
    /// The outcome of a record; `None` when there is none within this time.
    pub(super) async fn of(
        &self,
        identity: Identity,
        place: (i32, i64),
        within: Duration,
    ) -> Option<Recorded> {
        self.of_all(vec![(identity, place)], within).await.pop().flatten()
    }

    /// The outcomes of records in their order; `None` for those that have none within this time.
    pub(super) async fn of_all(
        &self,
        records: Vec<(Identity, (i32, i64))>,
        within: Duration,
    ) -> Vec<Option<Recorded>> {
        let until = Instant::now() + within;
        let mut found = Vec::with_capacity(records.len());
        for outcome in self.waiting_for(records) {
            // After that time those that are told already are still taken.
            found.push(timeout_at(until, outcome).await.ok().and_then(Result::ok));
        }
        found
    }

    fn waiting_for(&self, records: Vec<(Identity, (i32, i64))>) -> Vec<oneshot::Receiver<Recorded>> {
        let mut all = self.all();
        let outcomes = records.into_iter().map(|(identity, place)| {
            let (told, outcome) = oneshot::channel();
            all.entry(identity).or_default().push(Waiting { place, told });
            outcome
        });
        let outcomes = outcomes.collect();
        self.more.notify_one();
        outcomes
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Identity, Vec<Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queries for as long as a command is waited for, until `stop`.
    pub(super) async fn find(&self, receipts: &Receipts, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            loop {
                let asked = self.asked();
                if asked.is_empty() {
                    self.more.notified().await;
                    continue;
                }
                tokio::time::sleep(self.found(receipts, &asked).await).await;
            }
        })
        .await;
        // Those that wait get their answer now: it is still under way.
        self.all().clear();
    }

    /// Asks for these, and returns the delay before the next query.
    async fn found(&self, receipts: &Receipts, asked: &[Identity]) -> Duration {
        let began = Instant::now();
        let asked: Vec<(&str, &str)> =
            asked.iter().map(|(source, id)| (source.as_str(), id.as_str())).collect();
        match receipts.decided(&asked).await {
            Ok(found) => found.into_iter().for_each(|recorded| self.tell(&recorded)),
            Err(error) => {
                tracing::warn!(%error, "outcomes that are waited for cannot be read");
                return FAILED_FOR;
            }
        }
        // The outcomes of many commands take a longer query: it takes half of the time at most.
        began.elapsed().max(ASKED_EVERY)
    }

    /// The commands that are still waited for.
    fn asked(&self) -> Vec<Identity> {
        let mut all = self.all();
        all.retain(|_, waiting| {
            waiting.retain(|one| !one.told.is_closed());
            !waiting.is_empty()
        });
        all.keys().cloned().collect()
    }

    fn tell(&self, recorded: &Recorded) {
        let Receipt { source, id, .. } = &recorded.receipt;
        let mut all = self.all();
        let Some(waiting) = all.get_mut(&(source.clone(), id.clone())) else { return };
        for one in waiting.extract_if(.., |one| is_outcome(&recorded.receipt, one.place)) {
            // The caller may have gone meanwhile.
            let _ = one.told.send(recorded.clone());
        }
    }
}

/// Whether a receipt is the outcome of a record. A dead letter of an earlier record with the same identity is not: the command is
/// decided again.
fn is_outcome(receipt: &Receipt, (partition, offset): (i32, i64)) -> bool {
    let is_later = receipt.partition == Some(partition) && receipt.offset.is_some_and(|at| at >= offset);
    receipt.status != "dead" || is_later
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(status: &str, offset: i64) -> Recorded {
        let (id, source, status) = ("1".to_owned(), "shop".to_owned(), status.to_owned());
        let receipt =
            Receipt { id, source, status, partition: Some(2), offset: Some(offset), ..Receipt::default() };
        Recorded { receipt, fingerprint: Vec::new() }
    }

    #[tokio::test]
    async fn every_request_that_waits_for_a_command_is_told_once_it_has_its_own_outcome() {
        let outcomes = Outcomes::default();
        let identity = || ("shop".to_owned(), "1".to_owned());
        let waits = || outcomes.of(identity(), (2, 7), Duration::from_secs(60));
        let tell = async {
            outcomes.more.notified().await;
            assert_eq!(outcomes.asked(), [identity()]);
            outcomes.tell(&recorded("dead", 6));
            assert_eq!(outcomes.asked().len(), 1, "the dead letter of an earlier record is not its outcome");
            outcomes.tell(&recorded("dead", 7));
        };
        let (one, two, ()) = tokio::join!(waits(), waits(), tell);
        assert_eq!([one, two].map(|outcome| outcome.unwrap().receipt.offset), [Some(7); 2]);
        assert!(outcomes.asked().is_empty());
    }

    #[tokio::test]
    async fn a_request_that_has_waited_long_enough_is_forgotten() {
        let outcomes = Outcomes::default();
        let identity = ("shop".to_owned(), "1".to_owned());
        assert!(outcomes.of(identity, (0, 0), Duration::ZERO).await.is_none());
        assert!(outcomes.asked().is_empty());
    }
}
