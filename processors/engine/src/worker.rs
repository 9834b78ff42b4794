//! The work on one partition: a batch of records is folded, and states, outputs and the offset are committed in one transaction.

mod aborted;
mod batch;
mod joint;
mod limit;
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
pub use joint::Joint;
pub(crate) use joint::{Returning, Seat};
pub(crate) use limit::BatchLimit;
use parts::{after, before, extract_below, within};

/// Bytes of records in one transaction, at most, unless a single record is larger. A record takes several times its size in
/// memory on its way into Postgres and Elasticsearch.
pub(crate) const BATCH_BYTES_MAX: usize = 2 << 20;

/// Whether this process is still a member of the Kafka group. Asked before a partition is claimed again.
pub(crate) type StillOurs = Arc<dyn Fn(Claim) -> BoxFuture<'static, bool> + Send + Sync>;

/// The highest release of the members of the Kafka group, if that is a later one than this build's. Asked while a partition waits
/// for such a build.
pub(crate) type LaterMember = Arc<dyn Fn() -> BoxFuture<'static, Option<i32>> + Send + Sync>;

/// The publisher of a partition's documents, and the offset that it has reached.
pub(crate) struct Publishing {
    pub(crate) publisher: Arc<PublisherHandle>,
    pub(crate) mark: Arc<Mark>,
}

/// Works on one partition until its claim is lost. Idle while no batch has records of the partition.
pub(crate) struct Worker {
    pub(crate) retries: Retries,
    pub(crate) lane: Lane,
    pub(crate) claim: Claim,
    pub(crate) publishing: Option<Publishing>,
    pub(crate) still_ours: StillOurs,
    pub(crate) later_member: LaterMember,
    /// The claim with the applied offset, for the mirror in Kafka.
    pub(crate) position: watch::Sender<Claim>,
    pub(crate) stop: CancellationToken,
    /// Makes this process's member leave the group; `run` checks the reason before it joins again.
    pub(crate) watch: Watch,
    /// Records in one transaction, at most.
    pub(crate) limit: BatchLimit,
    /// The next attempt takes records below this offset only.
    pub(crate) reach: i64,
    /// The permit of a batch, held during its first attempt.
    pub(crate) permit: Option<Permit>,
}

/// What the worker does after an attempt at a batch.
enum Next {
    Done,
    Again,
    GiveBack,
}

/// The delays of a worker before it tries a batch again.
struct Delays {
    outage: Backoff,
    contention: Backoff,
    /// Set while the next record needs a later build.
    too_old: Option<release::Waits>,
}

impl Delays {
    fn new() -> Self {
        Self { outage: Backoff::new(), contention: Backoff::after_contention(), too_old: None }
    }
}

impl Worker {
    /// Waits until every wake-up copy of a batch is due; false when stopped. All copies of a topic have the same delay, so they
    /// are due in the order of their offsets.
    async fn when_due(&self, copies: &[Record]) -> bool {
        let due = copies.iter().map(|copy| self.retries.due(copy)).max().unwrap_or_default();
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(due) => true,
        }
    }

    /// Claims the partition again after its publisher was fenced while there were no records to apply.
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

    /// Moves the applied offset beyond offsets without a readable record: transaction markers, records of aborted transactions,
    /// and gaps. Tools that compare offsets would otherwise show a lag for ever. After a failure it is called again within a
    /// second.
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
            Err(error) => tracing::debug!(%error, "applied offset not moved beyond offsets without a record"),
        }
        true
    }

    fn acknowledged(&self) -> Option<i64> {
        self.publishing.as_ref().map(|publishing| publishing.mark.acknowledged())
    }

    /// Takes over the offsets of a committed batch: everything below `to` is applied.
    fn applied(&mut self, to: i64, published: Option<i64>) {
        self.claim.applied = to;
        if let (Some(Publishing { mark, .. }), Some(published)) = (&self.publishing, published) {
            mark.recorded(published);
        }
        self.position.send_replace(self.claim.clone());
    }

    /// After a commit: takes over the offsets and hands the batch's documents to the publisher.
    async fn moved(&mut self, to: i64, published: Option<i64>, documents: Vec<Document>) {
        self.applied(to, published);
        self.publish(to, documents).await;
    }

    async fn publish(&self, to: i64, documents: Vec<Document>) {
        if let Some(Publishing { publisher, mark }) = &self.publishing {
            publisher.send(vec![(mark.clone(), to)], documents, self.stop.cancelled()).await;
        }
    }

    /// Applies a batch; false when the partition must be given back.
    async fn work(&mut self, mut batch: Vec<Record>) -> bool {
        let applied_before: Vec<Record> = extract_below(&mut batch, self.claim.applied);
        if !applied_before.is_empty() {
            // Publishing may wait for Elasticsearch; other workers need the permit meanwhile.
            self.permit = None;
        }
        let answered = extract_below(&mut batch, self.answered_below());
        self.republish(&applied_before).await
            && self.pass_answered(&answered).await
            && self.apply(&batch, None).await
    }

    /// Records below this offset were answered before a reset, and retention may have removed their ledger rows.
    fn answered_below(&self) -> i64 {
        match self.lane {
            Lane::Source if !failpoints::broken(failpoints::mechanism::PRUNED_MARK) => {
                self.claim.answered_below
            }
            _ => 0,
        }
    }

    /// Skips records that were answered before retention's mark.
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
            "records were read again after a reset and skipped: they were answered long ago"
        );
        self.pass_over(to).await
    }

    /// Applies a batch, with as many attempts as it takes. With a `fault`, the batch is one record that Postgres refuses: it
    /// becomes a dead letter, and a wake-up copy is skipped.
    fn apply<'w>(&'w mut self, batch: &'w [Record], fault: Option<Fault>) -> BoxFuture<'w, bool> {
        Box::pin(async move {
            let (mut delays, mut most) = (Delays::new(), batch.len());
            loop {
                let left = after(batch, self.claim.applied);
                if left.is_empty() {
                    return true;
                }
                let pending = before(left, std::mem::replace(&mut self.reach, i64::MAX));
                let most_now = most.min(self.limit.now());
                let pending = within(pending.get(..most_now).unwrap_or(pending), BATCH_BYTES_MAX);
                let span = self.span(pending);
                let outcome = self.attempt(pending, fault.as_ref()).instrument(span).await;
                if let Err(WorkError::Overran(_)) = outcome {
                    self.limit.overran(pending.len());
                }
                if let (Err(WorkError::BuildTooOld(_)), 2..) = (&outcome, pending.len()) {
                    // The records before it can still be applied.
                    most = pending.len().div_ceil(2);
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
                    // When the answer to a commit was lost, only the offset of the new claim shows that it was committed.
                    Next::Again if !self.republish(before(pending, self.claim.applied)).await => {
                        return false;
                    }
                    Next::Again => {}
                }
            }
        })
    }

    /// Bisects a batch in which at least one record has this fault.
    async fn isolate(&mut self, batch: &[Record], fault: Fault) -> bool {
        self.retries.role.forget();
        let (left, right) = batch.split_at(batch.len() / 2);
        if left.is_empty() {
            return self.apply(right, Some(fault)).await;
        }
        self.apply(left, None).await && self.apply(right, None).await
    }

    /// The tracing span of one attempt at a batch.
    fn span(&self, batch: &[Record]) -> Span {
        let Claim { group, topic, partition, applied, .. } = &self.claim;
        let to = batch.last().map(|record| record.offset + 1);
        tracing::debug_span!("batch", group = %group.own_name(), topic, partition, from = applied, to, records = batch.len())
    }

    /// One attempt: a transaction that begins with the fence and has everything that follows from the batch.
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
        self.limit.committed(batch.len());
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
            // The copy is skipped: the sweep wakes its blocking record again.
            Lane::Retry if refused.is_some() => Settled::default(),
            Lane::Retry => self.retries.settle_wake_ups(&mut transaction, at, &records).await?,
        };
        batch::end(transaction).await?;
        Ok(settled)
    }

    /// Publishes the documents of records that a process committed and may not have published before it died.
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
