//! Retries of failed records, in the order of their key.
//!
//! A record that fails becomes the *blocking record* of its ordering key. It and all later records of the key wait in
//! `parked`, with bytes and headers; the key's row in `blocked_key` names the blocking record and counts its attempts. Only
//! the blocking record has a copy on a retry topic, acknowledged before the commit that parks the record. The copy only wakes:
//! when it is due, the blocking record that Postgres names is tried; a copy that does not match the row is dropped. After the
//! last attempt the record becomes a dead letter. If the records have versions, the key then waits until the letter is redriven
//! or discarded; otherwise the later records are applied.
//!
//! The key is that of [`Record::ordering_key`]: the key field of a command, the instance of a saga, else the Kafka key. When
//! records of one key are in several partitions, they wait for the same blocking record. Those of its partition are applied
//! first; those of each partition are applied in offset order.
//!
//! Guarantees: records of a key are applied strictly in order; none is lost or applied twice; no key is blocked for ever unless
//! a dead letter or a missing version is the reason. Other keys never wait.

mod blocked;
mod checked;
mod copies;
mod dead_letter;
mod drain;
mod parked;
mod redrive;
mod sweep;
mod triage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use millrace_store::Place;
use millrace_store::blocked_key::{self, Status};
use millrace_store::names::{retry_level, retry_topic};
use sqlx::PgConnection;

pub use copies::{left_at_source, original, own_and_ours};

use crate::elastic::Document;
use crate::error::{Fault, WorkError};
use crate::failpoints::{self, broken, mechanism};
use crate::metrics;
use crate::outcome::Outcome;
use crate::producer::{Copier, Delivery};
use crate::record::{Header, Record};
use crate::release;
use crate::role::{Folded, Role};
use crate::spans;
use crate::supervision::{self, Panic};
use blocked::Blocked;
use triage::{Triage, triage};

/// Settles batches of one group: applies records, schedules retries of those that fail, and parks later records of their keys.
#[derive(Clone)]
pub struct Retries {
    /// Folds the records.
    pub role: Arc<dyn Role>,
    /// Writes copies to retry and dead letter topics.
    pub copier: Arc<dyn Copier>,
    /// The delay before each retry; the number of delays is the number of retries.
    pub delays: Arc<[Duration]>,
}

/// What is done after the transaction of a settled batch is committed.
#[derive(Default)]
pub struct Settled {
    /// Documents to publish.
    pub documents: Vec<Document>,
    /// Functions that fill caches.
    pub remember: Vec<Box<dyn FnOnce() + Send>>,
}

/// A record that failed, with the number of attempts.
pub(super) struct Failure<'r> {
    record: &'r Record,
    fault: Fault,
    attempts: usize,
}

impl Retries {
    /// Applies a batch of a topic inside the transaction of `connection`: `at` is its last record. With
    /// `refused` the batch is one record that Postgres refuses, and nothing is folded.
    ///
    /// # Errors
    /// [`WorkError`] rolls the whole batch back.
    pub async fn settle(
        &self,
        connection: &mut PgConnection,
        at: &Place,
        batch: &[&Record],
        refused: Option<&Fault>,
    ) -> Result<Settled, WorkError> {
        let topic = [(self.role.group(), &*at.topic)];
        let blocked = blocked_key::topics(connection, &topic);
        let blocked = metrics::timed("blocked_key topics", blocked).await?;
        self.settle_knowing(connection, at, batch, refused, !blocked.is_empty()).await
    }

    /// As [`settle`](Self::settle), when it is known whether a key of the topic is blocked.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn settle_knowing(
        &self,
        connection: &mut PgConnection,
        at: &Place,
        batch: &[&Record],
        refused: Option<&Fault>,
        is_blocked: bool,
    ) -> Result<Settled, WorkError> {
        let blocked = match is_blocked {
            true => self.blocked(connection, at, batch, refused.is_some()).await?,
            false => BTreeMap::new(),
        };
        let (shown, behind) = self.separate_waiting(batch, &blocked);
        let folded = match refused {
            Some(fault) => Folded { outcomes: vec![Outcome::Failed(fault.clone())], ..Folded::default() },
            None => self.fold(connection, &shown, None).await?,
        };
        let mut settled = Settled::default();
        let outcomes = settled.take(folded);
        if !outcomes.iter().all(Outcome::is_done) {
            self.assign_ordering_keys(&shown, refused.is_some()).await?;
        }
        self.count_duplicates(&outcomes);
        let triage = triage(&shown, outcomes, behind, &blocked);
        if !triage.is_plain() {
            self.settle_failures(connection, at, triage, blocked, &mut settled).await?;
        }
        Ok(settled)
    }

    /// Folds the records of topics without a blocked key if all of them simply apply; `None` when one does not, and the caller must
    /// roll back.
    ///
    /// # Errors
    /// As [`fold`](Self::fold).
    pub(crate) async fn settle_plain(
        &self,
        connection: &mut PgConnection,
        batch: &[&Record],
    ) -> Result<Option<Settled>, WorkError> {
        Ok(self.plain(self.fold(connection, batch, None).await?))
    }

    /// `None` when a record does not simply apply.
    fn plain(&self, folded: Folded) -> Option<Settled> {
        let mut settled = Settled::default();
        let outcomes = settled.take(folded);
        outcomes.iter().all(Outcome::is_done).then(|| self.count_duplicates(&outcomes))?;
        Some(settled)
    }

    fn count_duplicates(&self, outcomes: &[Outcome]) {
        let duplicates = outcomes.iter().filter(|outcome| **outcome == Outcome::Duplicate).count();
        metrics::of_group(&metrics::DUPLICATES, self.role.group()).inc_by(duplicates as u64);
    }

    /// Folds a batch. A record whose bytes could not be fetched fails without being given to the role. Documents of drained records
    /// are published `with` the batch that drains them.
    ///
    /// # Errors
    /// As [`Role::fold`]; [`WorkError::Faulty`] when the fold panics; [`WorkError::BuildTooOld`] when a record may be of a later
    /// release, and one is deployed.
    pub async fn fold(
        &self,
        connection: &mut PgConnection,
        batch: &[&Record],
        with: Option<&Place>,
    ) -> Result<Folded, WorkError> {
        let read = read(batch);
        let folded = match read.as_slice() {
            [] => Folded::default(),
            read => spans::traced(&*self.role, read, with, self.fold_read(connection, read)).await?,
        };
        release::refuse_unknown(connection, folded.outcomes.iter().filter_map(Outcome::fault)).await?;
        Ok(Folded { outcomes: with_unread(batch, folded.outcomes), ..folded })
    }

    async fn fold_read(&self, connection: &mut PgConnection, batch: &[&Record]) -> Result<Folded, WorkError> {
        unless_it_panics("fold", async {
            poison(batch);
            self.role.fold(connection, batch).await
        })
        .await
    }

    /// Sets the ordering keys of records. A refused record whose ordering key cannot be determined keeps its Kafka key.
    async fn assign_ordering_keys(&self, batch: &[&Record], refused: bool) -> Result<(), WorkError> {
        match unless_it_panics("ordering_keys", self.role.assign_ordering_keys(&read(batch))).await {
            Err(WorkError::Faulty(_)) if refused => Ok(()),
            assigned => assigned,
        }
    }

    /// Locks the blocked keys of a batch. Ordering keys may be costly to determine, so only when the topic has a blocked key.
    async fn blocked(
        &self,
        connection: &mut PgConnection,
        at: &Place,
        batch: &[&Record],
        refused: bool,
    ) -> Result<BTreeMap<Vec<u8>, Blocked>, WorkError> {
        self.assign_ordering_keys(batch, refused).await?;
        blocked::lock(connection, self.role.group(), &at.topic, batch).await
    }

    /// Separates the records to fold from those that wait behind a blocked key. Without versions the offset is the only order, so
    /// a record of a blocked key is not folded.
    fn separate_waiting<'b>(
        &self,
        batch: &[&'b Record],
        blocked: &BTreeMap<Vec<u8>, Blocked>,
    ) -> (Vec<&'b Record>, Vec<&'b Record>) {
        // Ordering keys are set only when a key is blocked.
        let hides = !blocked.is_empty() && !self.role.versioned() && !broken(mechanism::KEY_ORDER);
        let waits = |record: &&Record| hides && blocked.contains_key(record.ordering_key());
        let (behind, shown) = batch.iter().copied().partition(waits);
        (shown, behind)
    }

    /// Settles everything that did not simply apply: blocking records, dead letters, waiting records, and keys that can be drained.
    async fn settle_failures(
        &self,
        connection: &mut PgConnection,
        at: &Place,
        triage: Triage<'_>,
        mut blocked: BTreeMap<Vec<u8>, Blocked>,
        settled: &mut Settled,
    ) -> Result<(), WorkError> {
        let group = self.role.group();
        parked::insert(connection, group, &triage.waiting, self.role.versioned()).await?;
        metrics::of_group(&metrics::PARKED, group).inc_by(triage.waiting.len() as u64);
        for key in &triage.gaps {
            let key = String::from_utf8_lossy(key);
            tracing::error!(group = group.id, topic = at.topic, %key, "parked: an earlier version of the stream is missing");
        }
        let freed = self.retry_or_dead_letter(connection, triage.failures).await?;
        let gaps = triage.gaps.into_iter().map(|key| (key, Blocked::gap())).collect();
        blocked::put_new(connection, group, &at.topic, &gaps).await?;
        let waiting: BTreeSet<&[u8]> = triage.waiting.iter().map(|record| record.ordering_key()).collect();
        let freed = freed.into_iter().filter(|key| waiting.contains(key.as_slice()));
        for key in triage.again.into_iter().chain(freed) {
            let before = blocked.remove(&key);
            self.drain_key(connection, &at.topic, at, &key, before, settled).await?;
        }
        Ok(())
    }

    /// Failed records with an attempt left are retried, the others become dead letters. Returns the keys of those for which
    /// nothing waits.
    async fn retry_or_dead_letter(
        &self,
        connection: &mut PgConnection,
        failures: Vec<Failure<'_>>,
    ) -> Result<Vec<Vec<u8>>, WorkError> {
        let (blocking, mut dead): (Vec<_>, Vec<_>) =
            failures.into_iter().partition(|failure| self.has_a_try_left(failure));
        dead.extend(self.park_blocking(connection, blocking).await?);
        self.dead_letter(connection, dead).await
    }

    fn has_a_try_left(&self, failure: &Failure<'_>) -> bool {
        !failure.fault.hopeless && failure.attempts <= self.delays.len()
    }

    /// Parks blocking records. Returns those that nothing would wake, because Kafka refuses their wake-up copy.
    async fn park_blocking<'r>(
        &self,
        connection: &mut PgConnection,
        blocking: Vec<Failure<'r>>,
    ) -> Result<Vec<Failure<'r>>, WorkError> {
        let copies =
            blocking.iter().map(|failure| self.wake_later(failure.record, &failure.fault, failure.attempts));
        let copies = try_join_all(copies).await?;
        let (blocking, lost): (Vec<_>, Vec<_>) =
            blocking.into_iter().zip(copies).partition(|(_, copy)| copy.is_some());
        let blocking: Vec<Failure<'r>> = blocking.into_iter().map(|(failure, _)| failure).collect();
        let group = self.role.group();
        metrics::of_group(&metrics::RETRIES, group).inc_by(blocking.len() as u64);
        let records: Vec<&Record> = blocking.iter().map(|failure| failure.record).collect();
        parked::insert(connection, group, &records, self.role.versioned()).await?;
        let retrying = |failure: &Failure<'_>| {
            let blocked =
                Blocked::at(Status::Retrying, failure.record, failure.attempts, Some(&failure.fault));
            (failure.record.ordering_key().to_vec(), blocked.due_in(self.delay(failure.attempts)))
        };
        if let Some(first) = records.first() {
            blocked::put(connection, group, &first.topic, &blocking.iter().map(retrying).collect()).await?;
        }
        Ok(lost.into_iter().map(|(failure, _)| failure).collect())
    }

    /// Writes the wake-up copy of a blocking record to the topic of its next retry, with the time at which it is due. `None` when
    /// Kafka refuses it.
    async fn wake_later(
        &self,
        record: &Record,
        fault: &Fault,
        attempts: usize,
    ) -> Result<Option<Delivery>, WorkError> {
        let level = attempts.clamp(1, self.delays.len().max(1));
        let topic = retry_topic(&record.topic, &self.role.group().own_name(), level);
        let headers = copies::headers(record, fault, attempts, Some(self.delay(attempts)));
        self.write_copy(record, &topic, headers).await
    }

    /// Writes a copy of a record with the headers `ours` after its own. If its bytes could not be fetched, or Kafka refuses them, the
    /// copy has only the record's place; `None` when Kafka refuses that, too.
    async fn write_copy(
        &self,
        record: &Record,
        topic: &str,
        ours: Vec<Header>,
    ) -> Result<Option<Delivery>, WorkError> {
        let Record { partition, offset, .. } = record;
        let reason = match record.place_only_because() {
            Some(fault) => fault.message.clone().into(),
            None => {
                let once = copies::without_earlier(record);
                let copied = self.copier.copy(once.as_ref().unwrap_or(record), topic, &ours).await;
                let Err(WorkError::NotTaken(reason)) = copied else { return copied.map(Some) };
                tracing::warn!(
                    topic,
                    partition,
                    offset,
                    %reason,
                    "the copy is written without the record's bytes, which remain in the source topic"
                );
                reason
            }
        };
        let (place, ours) = copies::of_place(record, ours, reason.text());
        match self.copier.copy(&place, topic, &ours).await {
            Err(WorkError::NotTaken(reason)) => {
                tracing::error!(topic, partition, offset, %reason, "Kafka refuses the copy");
                Ok(None)
            }
            taken => taken.map(Some),
        }
    }

    /// How long a wake-up copy still has to wait: at most twice the delay of its topic. A header with a later time is forged or from
    /// a wrong clock, and the rest of the partition would wait with it.
    pub(crate) fn due(&self, copy: &Record) -> Duration {
        let level = retry_level(&copy.topic).unwrap_or(1);
        copies::due(copy).min(self.delay(level) * 2)
    }

    /// The delay after this number of attempts; a record without an attempt is due at once.
    fn delay(&self, attempts: usize) -> Duration {
        let retry = attempts.checked_sub(1).and_then(|place| self.delays.get(place).or(self.delays.last()));
        retry.copied().unwrap_or_default()
    }

    /// The current documents of the rows that a batch changed, drained records included. After a crash between commit and
    /// publishing, Elasticsearch may not have them.
    ///
    /// # Errors
    /// [`WorkError`].
    pub(crate) async fn documents(
        &self,
        connection: &mut PgConnection,
        lane: Lane,
        batch: &[&Record],
    ) -> Result<Vec<Document>, WorkError> {
        let drained = parked::drained(connection, self.role.group(), batch).await?;
        let mut records: Vec<&Record> = drained.iter().collect();
        if let Lane::Source = lane {
            records.extend(read(batch));
        }
        self.role.documents(connection, &records).await
    }
}

/// Where a test poisons folds.
fn poison(batch: &[&Record]) {
    batch.iter().for_each(|record| failpoints::poison(failpoints::POISON_FOLD, record));
}

/// The records whose bytes were fetched.
fn read<'r>(batch: &[&'r Record]) -> Vec<&'r Record> {
    batch.iter().copied().filter(|record| record.unread.is_none()).collect()
}

/// The outcomes of a batch, given the outcomes of the records whose bytes were fetched.
fn with_unread(batch: &[&Record], outcomes: Vec<Outcome>) -> Vec<Outcome> {
    let mut outcomes = outcomes.into_iter();
    let outcome = |record: &&Record| match &record.unread {
        Some(unread) => Some(Outcome::Failed(unread.fault().clone())),
        None => outcomes.next(),
    };
    batch.iter().filter_map(outcome).collect()
}

/// Runs a fold; a panic becomes a fault of a record of the batch.
async fn unless_it_panics<T>(
    task: &str,
    work: impl Future<Output = Result<T, WorkError>>,
) -> Result<T, WorkError> {
    if broken(mechanism::CATCH_PANIC) {
        return work.await;
    }
    let panicked = |panic: Panic| WorkError::Faulty(Fault::panicked(&panic));
    supervision::caught(task, work).await.map_err(panicked).flatten()
}

/// The kind of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Of a source topic.
    Source,
    /// Of a retry topic: wake-up copies of blocking records, each with the time at which it is due.
    Retry,
}

impl Settled {
    /// Appends another batch's follow-up work.
    pub(crate) fn and(&mut self, other: Self) {
        self.documents.extend(other.documents);
        self.remember.extend(other.remember);
    }

    fn take(&mut self, folded: Folded) -> Vec<Outcome> {
        self.documents.extend(folded.documents);
        self.remember.extend(folded.remember);
        folded.outcomes
    }
}
