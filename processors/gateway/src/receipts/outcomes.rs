//! Waiting for outcomes: one query at a time for the commands that are waited for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_ops::receipts::{Receipt, Receipts, Recorded};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// The delay between queries while a command is waited for.
const ASKED_EVERY: Duration = Duration::from_millis(25);
/// Commands of a query, at most.
const ASKED_MAX: usize = 500;
/// The delay after a query that failed.
const FAILED_FOR: Duration = Duration::from_secs(1);

/// Source and id of a command.
type Identity = (String, String);

/// The record whose outcome is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Its partition and offset.
    pub(super) at: (i32, i64),
    /// When the dead letter was written that is not its outcome.
    pub(super) not: Option<DateTime<Utc>>,
}

/// One request that waits.
struct Waiting {
    place: Place,
    told: oneshot::Sender<Recorded>,
}

/// The requests that wait for a command.
#[derive(Default)]
struct Command {
    waiting: Vec<Waiting>,
    /// The query that last asked for it; 0 if none has.
    asked: u64,
}

/// The requests that wait, by command.
#[derive(Default)]
pub(super) struct Outcomes {
    waiting: Mutex<HashMap<Identity, Command>>,
    more: Notify,
}

impl Outcomes {
    /// The outcome of a record; `None` when there is none within this time.
    pub(super) async fn of(&self, identity: Identity, place: Place, within: Duration) -> Option<Recorded> {
        self.of_all(vec![(identity, place)], within).await.pop().flatten()
    }

    /// The outcomes of records in their order; `None` for those that have none within this time.
    pub(super) async fn of_all(
        &self,
        records: Vec<(Identity, Place)>,
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

    fn waiting_for(&self, records: Vec<(Identity, Place)>) -> Vec<oneshot::Receiver<Recorded>> {
        let mut all = self.all();
        let outcomes = records.into_iter().map(|(identity, place)| {
            let (told, outcome) = oneshot::channel();
            all.entry(identity).or_default().waiting.push(Waiting { place, told });
            outcome
        });
        let outcomes = outcomes.collect();
        self.more.notify_one();
        outcomes
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Identity, Command>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queries for as long as a command is waited for, until `stop`.
    pub(super) async fn find(&self, receipts: &Receipts, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            for query in 1.. {
                let asked = self.asked(query);
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
        // The outcomes of many commands take several queries: they take half of the time at most.
        let pause = if asked.len() < ASKED_MAX { ASKED_EVERY } else { Duration::ZERO };
        began.elapsed().max(pause)
    }

    /// The commands that are still waited for and that this query asks for: of many, those that were asked for the longest time ago,
    /// so that one alone is asked for once in each round of a batch.
    fn asked(&self, query: u64) -> Vec<Identity> {
        let mut all = self.all();
        all.retain(|_, Command { waiting, .. }| {
            waiting.retain(|one| !one.told.is_closed());
            !waiting.is_empty()
        });
        let mut oldest: Vec<(&Identity, &mut Command)> = all.iter_mut().collect();
        if oldest.len() > ASKED_MAX {
            oldest.select_nth_unstable_by_key(ASKED_MAX, |(_, command)| command.asked);
            oldest.truncate(ASKED_MAX);
        }
        let asked = oldest.into_iter().map(|(identity, command)| {
            command.asked = query;
            identity.clone()
        });
        asked.collect()
    }

    fn tell(&self, recorded: &Recorded) {
        let Receipt { source, id, .. } = &recorded.receipt;
        let mut all = self.all();
        let Some(Command { waiting, .. }) = all.get_mut(&(source.clone(), id.clone())) else { return };
        for one in waiting.extract_if(.., |one| is_outcome(&recorded.receipt, one.place)) {
            // The caller may have gone meanwhile.
            let _ = one.told.send(recorded.clone());
        }
    }
}

/// Whether a receipt is the outcome of a record. A dead letter of an earlier record with the same identity is not, nor is one that was
/// redriven: the command is decided again.
fn is_outcome(receipt: &Receipt, Place { at: (partition, offset), not }: Place) -> bool {
    let is_later = receipt.partition == Some(partition) && receipt.offset.is_some_and(|at| at >= offset);
    let is_redriven = not.is_some() && receipt.decided_at == not;
    receipt.status != "dead" || (is_later && !is_redriven)
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

    const AT: Place = Place { at: (2, 7), not: None };

    #[tokio::test]
    async fn every_request_that_waits_for_a_command_is_told_once_it_has_its_own_outcome() {
        let outcomes = Outcomes::default();
        let identity = || ("shop".to_owned(), "1".to_owned());
        let waits = || outcomes.of(identity(), AT, Duration::from_secs(60));
        let tell = async {
            outcomes.more.notified().await;
            assert_eq!(outcomes.asked(1), [identity()]);
            outcomes.tell(&recorded("dead", 6));
            assert_eq!(outcomes.asked(2).len(), 1, "the dead letter of an earlier record is not its outcome");
            outcomes.tell(&recorded("dead", 7));
        };
        let (one, two, ()) = tokio::join!(waits(), waits(), tell);
        assert_eq!([one, two].map(|outcome| outcome.unwrap().receipt.offset), [Some(7); 2]);
        assert!(outcomes.asked(3).is_empty());
    }

    #[test]
    fn a_dead_letter_that_was_redriven_is_no_outcome_and_the_next_one_is() {
        let decided = |at: i64| {
            let decided_at = DateTime::from_timestamp(at, 0);
            Receipt { decided_at, ..recorded("dead", 7).receipt }
        };
        let redriven = Place { not: DateTime::from_timestamp(1, 0), ..AT };
        assert!(is_outcome(&decided(1), AT));
        assert!(!is_outcome(&decided(1), redriven) && is_outcome(&decided(2), redriven));
        assert!(is_outcome(&Receipt { status: "completed".to_owned(), ..decided(1) }, redriven));
    }

    #[tokio::test]
    async fn a_request_alone_is_not_behind_all_commands_of_a_batch() {
        let outcomes = Outcomes::default();
        let of = |id: usize| (("shop".to_owned(), id.to_string()), AT);
        let batch = outcomes.waiting_for((0..ASKED_MAX * 3).map(of).collect());
        let mut asked: Vec<Identity> = (1..=3).flat_map(|query| outcomes.asked(query)).collect();
        asked.sort();
        asked.dedup();
        assert_eq!(asked.len(), ASKED_MAX * 3, "each of the batch in turn");
        let web = || ("web".to_owned(), "1".to_owned());
        let alone = outcomes.waiting_for(vec![(web(), AT)]);
        let next = outcomes.asked(4);
        assert!(next.len() == ASKED_MAX && next.contains(&web()));
        drop((batch, alone));
    }

    #[tokio::test]
    async fn a_request_that_has_waited_long_enough_is_forgotten() {
        let outcomes = Outcomes::default();
        let identity = ("shop".to_owned(), "1".to_owned());
        assert!(outcomes.of(identity, AT, Duration::ZERO).await.is_none());
        assert!(outcomes.asked(1).is_empty());
    }
}
