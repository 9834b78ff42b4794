//! The one loop: take what has arrived, fold it, commit states, outputs and the offsets together.

mod aborted;
mod batch;
mod parts;

use std::sync::Arc;
use std::time::Instant;

use futures::future::BoxFuture;
use millrace_store::Place;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::backoff::Backoff;
use crate::concurrency::Permit;
use crate::elastic::Document;
use crate::error::{Fault, WorkError};
use crate::failpoints;
use crate::offsets::{Claim, Step};
use crate::publisher::{Mark, PublisherHandle};
use crate::record::Record;
use crate::retry::{Lane, Retries, Settled};
use crate::supervision::Watch;
use crate::{metrics, release};
pub(crate) use batch::{Ended, Share, alone, together};
use parts::{after, before, extract_below, within};

/// The most bytes of records in one transaction, unless one record alone is larger: what is made of a record on its way into
/// Postgres and Elasticsearch takes its size in memory several times.
pub(crate) const BATCH_BYTES_MAX: usize = 2 << 20;

/// Whether this process is still a member of the Kafka group. Asked before a partition is claimed again.
pub(crate) type StillOurs = Arc<dyn Fn(Claim) -> BoxFuture<'static, bool> + Send + Sync>;

/// The highest release of the members of the Kafka group, if that is a later one than this build's. Asked while a partition waits
/// for such a build.
pub(crate) type LaterMember = Arc<dyn Fn() -> BoxFuture<'static, Option<i32>> + Send + Sync>;

/// Where the documents of a partition go, and how far they are there.
pub(crate) struct Publishing {
    pub(crate) publisher: Arc<PublisherHandle>,
    pub(crate) mark: Arc<Mark>,
}

/// What works on one partition, as long as its claim is not lost. It rests while no batch has records of the partition.
pub(crate) struct Worker {
    pub(crate) retries: Retries,
    pub(crate) lane: Lane,
    pub(crate) claim: Claim,
    pub(crate) publishing: Option<Publishing>,
    pub(crate) still_ours: StillOurs,
    pub(crate) later_member: LaterMember,
    /// The last applied offset of this worker, for Kafka's copy of the offset.
    pub(crate) position: watch::Sender<Claim>,
    pub(crate) stop: CancellationToken,
    /// Lets all of this group in this process leave; `run` looks before it joins again.
    pub(crate) watch: Watch,
    /// The next try stays below this offset.
    pub(crate) reach: i64,
    /// Taken with a batch, for its first try.
    pub(crate) permit: Option<Permit>,
}

/// What the worker does after a try at a batch.
enum Next {
    Done,
    Again,
    GiveBack,
}

/// What a worker waits before it tries a batch again.
struct Delays {
    outage: Backoff,
    contention: Backoff,
    /// While the next record is for a later build.
    too_old: Option<release::Waits>,
}

impl Delays {
    fn new() -> Self {
        Self { outage: Backoff::new(), contention: Backoff::after_contention(), too_old: None }
    }
}

impl Worker {
    /// Waits until every wake-up copy of a batch is due; false when stopped. All copies of a topic wait equally long, so they
    /// are due in order.
    async fn when_due(&self, copies: &[Record]) -> bool {
        let due = copies.iter().map(|copy| self.retries.due(copy)).max().unwrap_or_default();
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(due) => true,
        }
    }

    /// The publisher was fenced while there was nothing to apply: claims again, so that it can go on.
    pub(crate) async fn recover(&mut self) -> bool {
        self.aborted("fenced", "another epoch has claimed the partition");
        self.retries.role.forget();
        let (lost, mut backoff) = (self.claim.epoch, Backoff::new());
        while self.claim.epoch == lost {
            if let Next::GiveBack = self.claim_again(&mut backoff).await {
                return false;
            }
        }
        true
    }

    /// Moves beyond markers of transactions, records of aborted ones, and gaps: they are no records, and tools that compare
    /// offsets would wait for them for ever. When it fails, the next call is within a second.
    pub(crate) async fn pass_over(&mut self, to: i64) -> bool {
        if to <= self.claim.applied || failpoints::broken(failpoints::mechanism::NO_RECORD) {
            return true;
        }
        let (database, published) = (self.retries.role.database(), self.acknowledged());
        let moved = database.in_time(async {
            let mut transaction = database.begin().await?;
            self.claim.advance(&mut transaction, to, published).await?;
            Ok(transaction.commit().await?)
        });
        match moved.await {
            Ok(()) => self.moved(to, published, Vec::new()).await,
            Err(WorkError::Fenced) => return self.recover().await,
            Err(error) => tracing::debug!(%error, "not moved beyond what is no record"),
        }
        true
    }

    fn acknowledged(&self) -> Option<i64> {
        self.publishing.as_ref().map(|publishing| publishing.mark.acknowledged())
    }

    /// A batch has moved the offsets: everything below `to` is applied.
    fn applied(&mut self, to: i64, published: Option<i64>) {
        self.claim.applied = to;
        if let (Some(Publishing { mark, .. }), Some(published)) = (&self.publishing, published) {
            mark.recorded(published);
        }
        self.position.send_replace(self.claim.clone());
    }

    /// After a commit: what the records below `to` changed is to be published.
    async fn moved(&mut self, to: i64, published: Option<i64>, documents: Vec<Document>) {
        self.applied(to, published);
        self.publish(to, documents).await;
    }

    async fn publish(&self, to: i64, documents: Vec<Document>) {
        if let Some(Publishing { publisher, mark }) = &self.publishing {
            publisher.send(vec![(mark.clone(), to)], documents, self.stop.cancelled()).await;
        }
    }

    /// Applies a batch; false when the partition is to be given back.
    async fn work(&mut self, mut batch: Vec<Record>) -> bool {
        let applied_before: Vec<Record> = extract_below(&mut batch, self.claim.applied);
        if !applied_before.is_empty() {
            // Elasticsearch may be slow: other workers need not wait for that.
            self.permit = None;
        }
        let answered = extract_below(&mut batch, self.answered_below());
        self.republish(&applied_before).await
            && self.pass_answered(&answered).await
            && self.apply(&batch, None).await
    }

    /// Below this offset records are read again that were answered, though the ledger may have no row of them any more.
    fn answered_below(&self) -> i64 {
        match self.lane {
            Lane::Source if !failpoints::broken(failpoints::mechanism::PRUNED_MARK) => {
                self.claim.answered_below
            }
            _ => 0,
        }
    }

    /// Moves beyond records that were answered long ago.
    async fn pass_answered(&mut self, answered: &[Record]) -> bool {
        let Some(last) = answered.last() else { return true };
        let (Claim { group, topic, partition, .. }, records) = (&self.claim, answered.len());
        metrics::of_group(&metrics::ANSWERED, group).inc_by(records as u64);
        let to = last.offset + 1;
        tracing::info!(
            group = group.id,
            topic,
            partition,
            to,
            records,
            "read again: answered long ago, passed over"
        );
        self.pass_over(to).await
    }

    /// Applies a batch however many tries it takes; with a fault, makes its only record a dead letter instead, or leaves it
    /// where it is when it is a wake-up copy.
    fn apply<'w>(&'w mut self, batch: &'w [Record], fault: Option<Fault>) -> BoxFuture<'w, bool> {
        Box::pin(async move {
            let (mut delays, mut most) = (Delays::new(), batch.len());
            loop {
                let left = after(batch, self.claim.applied);
                if left.is_empty() {
                    return true;
                }
                let pending = before(left, std::mem::replace(&mut self.reach, i64::MAX));
                let pending = within(pending.get(..most).unwrap_or(pending), BATCH_BYTES_MAX);
                let span = self.span(pending);
                let outcome = self.attempt(pending, fault.as_ref()).instrument(span).await;
                if let Err(WorkError::Overran(_) | WorkError::BuildTooOld(_)) = outcome {
                    most = pending.len().div_ceil(2);
                }
                if let (Err(WorkError::BuildTooOld(_)), 2..) = (&outcome, pending.len()) {
                    // What comes before it can still be applied.
                    self.retries.role.forget();
                    continue;
                }
                if let (Some(found), None) = (outcome.as_ref().err().and_then(WorkError::fault), &fault) {
                    self.aborted("refused", &found.message);
                    if self.isolate(pending, found).await {
                        continue;
                    }
                    return false;
                }
                match self.after_attempt(outcome, &mut delays).await {
                    Next::Done => delays = Delays::new(),
                    Next::GiveBack => return false,
                    // A commit whose answer was lost shows only now, by the offset of the new claim.
                    Next::Again if !self.republish(before(pending, self.claim.applied)).await => {
                        return false;
                    }
                    Next::Again => {}
                }
            }
        })
    }

    /// Bisects a batch of which at least one record has this fault.
    async fn isolate(&mut self, batch: &[Record], fault: Fault) -> bool {
        self.retries.role.forget();
        let (left, right) = batch.split_at(batch.len() / 2);
        if left.is_empty() {
            return self.apply(right, Some(fault)).await;
        }
        self.apply(left, None).await && self.apply(right, None).await
    }

    /// Of one try at a batch.
    fn span(&self, batch: &[Record]) -> Span {
        let Claim { group, topic, partition, applied, .. } = &self.claim;
        let to = batch.last().map(|record| record.offset + 1);
        tracing::debug_span!("batch", group = %group.own_name(), topic, partition, from = applied, to, records = batch.len())
    }

    /// One try: everything in one transaction that begins with the fence.
    async fn attempt(&mut self, batch: &[Record], refused: Option<&Fault>) -> Result<(), WorkError> {
        let started = Instant::now();
        let Some(last) = batch.last() else { return Ok(()) };
        let permit = match self.permit.take() {
            Some(permit) => Some(permit),
            None => self.retries.role.database().permit().await,
        };
        let (at, to, published) = (last.place(), last.offset + 1, self.acknowledged());
        let step = Step { claim: &self.claim, to, published };
        let commit = self.commit(batch, &at, step, refused);
        let settled = self.retries.role.database().in_time(commit).await?;
        drop(permit);
        failpoints::pass(failpoints::AFTER_COMMIT);
        let documents = batch::remember(&self.claim.group, &[batch], settled, started);
        self.moved(to, published, documents).await;
        Ok(())
    }

    async fn commit(
        &self,
        batch: &[Record],
        at: &Place,
        step: Step<'_>,
        refused: Option<&Fault>,
    ) -> Result<Settled, WorkError> {
        let records: Vec<&Record> = batch.iter().collect();
        let mut transaction = batch::begin(self.retries.role.database(), &[step]).await?;
        let settled = match self.lane {
            Lane::Source => self.retries.settle(&mut transaction, at, &records, refused).await?,
            // The sweep wakes its blocking record again, and the others need not wait for that.
            Lane::Retry if refused.is_some() => Settled::default(),
            Lane::Retry => self.retries.settle_wake_ups(&mut transaction, at, &records).await?,
        };
        batch::end(transaction).await?;
        Ok(settled)
    }

    /// Sends documents again whose batch was committed by a process that may have died before it published them.
    async fn republish(&mut self, batch: &[Record]) -> bool {
        let (Some(last), Some(_)) = (batch.last(), &self.publishing) else { return true };
        let mut delays = Delays::new();
        loop {
            match self.changed(batch).await {
                Ok(documents) => {
                    self.publish(last.offset + 1, documents).await;
                    return true;
                }
                Err(WorkError::BuildTooOld(reason)) => {
                    if let Next::GiveBack = self.while_too_old(&reason, &mut delays).await {
                        return false;
                    }
                }
                Err(error) => {
                    self.aborted("republish", &error.to_string());
                    if let Next::GiveBack = self.wait(&mut delays.outage, "postgres").await {
                        return false;
                    }
                }
            }
        }
    }

    async fn changed(&self, batch: &[Record]) -> Result<Vec<Document>, WorkError> {
        let database = self.retries.role.database();
        let records: Vec<&Record> = batch.iter().collect();
        let read = async {
            let mut connection = database.acquire().await?;
            self.retries.documents(&mut connection, self.lane, &records).await
        };
        database.in_time(read).await
    }
}
