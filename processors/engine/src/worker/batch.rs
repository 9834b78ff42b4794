//! Batches of several partitions: the records that have arrived since the last batch, in one transaction.
//!
//! Such a batch is tried once. When it is not committed (a record fails, a partition is fenced or paused, a dependency is away),
//! each partition tries its own records separately, and finds and handles the cause itself.

use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use futures::FutureExt as _;
use futures::future::select_all;
use millrace_store::{Group, blocked_key};
use sqlx::{PgConnection, Postgres, Transaction};
use tracing::Instrument as _;

use super::aborted::aborted_together;
use super::{Publishing, Worker};
use crate::concurrency::Permit;
use crate::database::Pool;
use crate::elastic::Document;
use crate::error::WorkError;
use crate::failpoints;
use crate::metrics::timed;
use crate::offsets::{Step, advance};
use crate::publisher::Reach;
use crate::record::Record;
use crate::retry::{Lane, Retries, Settled};
use crate::{envelope, metrics};

/// The records of one partition in a batch, in offset order.
pub(crate) struct Share {
    pub(crate) worker: Worker,
    pub(crate) records: Vec<Record>,
}

/// The result of a batch for one worker.
pub(crate) enum Ended {
    /// All records of the partition are applied or settled.
    Done(Worker),
    /// None of them is: they must be tried separately from those of other partitions.
    Apart(Share),
    /// The partition must be given back.
    GivenBack(Worker),
}

impl Ended {
    /// The result of a worker that has tried its records alone; `going_on` is false when the partition must be given back.
    pub(crate) fn of(worker: Worker, going_on: bool) -> Self {
        if going_on { Self::Done(worker) } else { Self::GivenBack(worker) }
    }
}

/// Applies records of one partition, with as many attempts as it takes.
pub(crate) async fn alone(Share { mut worker, records }: Share, permit: Option<Permit>) -> Ended {
    let going_on = match worker.lane {
        Lane::Retry => worker.when_due(&records).await,
        Lane::Source => true,
    };
    worker.permit = permit;
    let done = going_on && worker.work(records).await;
    worker.permit = None;
    Ended::of(worker, done)
}

/// Applies records of source partitions of one group in one transaction.
pub(crate) async fn together(shares: Vec<Share>, permit: Option<Permit>) -> Vec<Ended> {
    let (mut shares, mut ended) = new_in_order(shares);
    let span = tracing::debug_span!("batch", partitions = shares.len());
    let committed = try_once(&mut shares, permit).instrument(span).await;
    let end = |share: Share| if committed { Ended::Done(share.worker) } else { Ended::Apart(share) };
    ended.extend(shares.into_iter().map(end));
    ended
}

/// The shares with new records only, in the order of their partitions, in which roles fold them; the others are to be tried
/// separately.
pub(super) fn new_in_order(shares: Vec<Share>) -> (Vec<Share>, Vec<Ended>) {
    let (mut shares, apart): (Vec<Share>, Vec<Share>) = shares.into_iter().partition(Share::is_new);
    shares.sort_by_key(|Share { worker: Worker { claim, .. }, .. }| (claim.topic.clone(), claim.partition));
    (shares, apart.into_iter().map(Ended::Apart).collect())
}

impl Share {
    /// Whether all of its records are new: none was applied before or answered before a reset.
    fn is_new(&self) -> bool {
        let from = self.worker.claim.applied.max(self.worker.answered_below());
        self.records.first().is_some_and(|first| first.offset >= from)
    }

    /// How the batch moves the offsets.
    pub(super) fn step(&self) -> Step<'_> {
        let claim = &self.worker.claim;
        let to = self.records.last().map_or(claim.applied, |last| last.offset + 1);
        Step { claim, to, published: self.worker.acknowledged() }
    }
}

/// Whether the batch was committed.
async fn try_once(shares: &mut [Share], permit: Option<Permit>) -> bool {
    let started = Instant::now();
    let Some(Share { worker, .. }) = shares.first() else { return true };
    let (role, group, limit) =
        (worker.retries.role.clone(), worker.claim.group.clone(), worker.limit.clone());
    let steps: Vec<Step<'_>> = shares.iter().map(Share::step).collect();
    let moved: Vec<Moved> = steps.iter().map(|step| (step.to, step.published)).collect();
    let settled = match role.database().in_time(commit(shares, &steps)).await {
        Ok(Some(settled)) => settled,
        Ok(None) => return false,
        Err(error) => {
            role.forget();
            if let WorkError::Overran(_) = error {
                limit.overran(shares.iter().map(|share| share.records.len()).sum());
            }
            aborted_together(&group, &error);
            return false;
        }
    };
    drop(permit);
    failpoints::pass(failpoints::AFTER_COMMIT);
    let documents = committed(shares, &moved, settled, started);
    publish(shares, documents).await;
    true
}

/// The applied and the published offset of a partition after a batch.
pub(super) type Moved = (i64, Option<i64>);

/// After a commit: takes over the offsets, and returns the documents to publish.
pub(super) fn committed(
    shares: &mut [Share],
    moved: &[Moved],
    settled: Settled,
    started: Instant,
) -> Vec<Document> {
    let Some(Share { worker, .. }) = shares.first() else { return Vec::new() };
    let (group, limit) = (worker.claim.group.clone(), worker.limit.clone());
    let batches: Vec<&[Record]> = shares.iter().map(|share| share.records.as_slice()).collect();
    limit.committed(batches.iter().map(|batch| batch.len()).sum());
    let documents = remember(&group, &batches, settled, started);
    for (share, (to, published)) in shares.iter_mut().zip(moved) {
        share.worker.applied(*to, *published);
    }
    documents
}

/// Commits the batch if every record simply applies; `None` when one does not, and nothing is committed.
async fn commit(shares: &[Share], steps: &[Step<'_>]) -> Result<Option<Settled>, WorkError> {
    let Some(Share { worker, .. }) = shares.first() else { return Ok(None) };
    let mut transaction = begin(worker.retries.role.database(), steps).await?;
    let Some(settled) = settle(&mut transaction, &worker.claim.group, shares).await? else { return Ok(None) };
    end(transaction).await?;
    Ok(Some(settled))
}

/// Begins the transaction of a batch, with the fence.
pub(super) async fn begin(
    pool: &Pool,
    steps: &[Step<'_>],
) -> Result<Transaction<'static, Postgres>, WorkError> {
    let mut transaction = timed("begin", pool.begin()).await?;
    advance(&mut transaction, steps).await?;
    fenced(pool, transaction).await
}

/// The transaction after its fence.
pub(super) async fn fenced(
    pool: &Pool,
    transaction: Transaction<'static, Postgres>,
) -> Result<Transaction<'static, Postgres>, WorkError> {
    if failpoints::broken(failpoints::mechanism::ONE_TRANSACTION) {
        transaction.commit().await?;
        return Ok(pool.begin().await?);
    }
    Ok(transaction)
}

pub(super) async fn end(transaction: Transaction<'static, Postgres>) -> Result<(), WorkError> {
    failpoints::pass(failpoints::BEFORE_COMMIT);
    Ok(timed("commit", transaction.commit()).await?)
}

/// The records of a topic; those of each partition are in offset order.
struct OfTopic<'b> {
    topic: &'b str,
    retries: &'b Retries,
    records: Vec<&'b Record>,
}

fn by_topic(shares: &[Share]) -> Vec<OfTopic<'_>> {
    let mut topics: Vec<OfTopic<'_>> = Vec::new();
    for Share { worker, records } in shares {
        match topics.last_mut().filter(|last| last.topic == worker.claim.topic) {
            Some(last) => last.records.extend(records),
            None => topics.push(OfTopic {
                topic: &worker.claim.topic,
                retries: &worker.retries,
                records: records.iter().collect(),
            }),
        }
    }
    topics
}

/// Settles the records of all topics. The topics of a role that have no blocked key are folded together; topics with a blocked key
/// are settled one by one afterwards. When a record of several topics fails, the caller rolls back and tries each partition
/// separately.
async fn settle(
    connection: &mut PgConnection,
    group: &Group,
    shares: &[Share],
) -> Result<Option<Settled>, WorkError> {
    let topics = by_topic(shares);
    let asked: Vec<(&Group, &str)> = topics.iter().map(|topic| (group, topic.topic)).collect();
    let found = timed("blocked_key topics", blocked_key::topics(connection, &asked)).await?;
    let (mut blocked, mut plain) = (Vec::new(), Vec::new());
    for (place, topic) in topics.into_iter().enumerate() {
        if found.contains(&place) { blocked.push(topic) } else { plain.push(topic) }
    }
    let mut settled = Settled::default();
    for topics in by_role(plain) {
        let Some(more) = settle_unblocked(connection, topics).await? else { return Ok(None) };
        settled.and(more);
    }
    for topic in blocked {
        settled.and(topic.settle(connection, true).await?);
    }
    Ok(Some(settled))
}

/// Settles topics of one role without a blocked key; `None` when there are several and a record does not simply apply.
async fn settle_unblocked(
    connection: &mut PgConnection,
    topics: Vec<OfTopic<'_>>,
) -> Result<Option<Settled>, WorkError> {
    match topics.as_slice() {
        [] => Ok(Some(Settled::default())),
        [topic] => topic.settle(connection, false).await.map(Some),
        [OfTopic { retries, .. }, ..] => {
            let records: Vec<&Record> = topics.iter().flat_map(|topic| &topic.records).copied().collect();
            retries.settle_plain(connection, &records).await
        }
    }
}

impl OfTopic<'_> {
    async fn settle(&self, connection: &mut PgConnection, is_blocked: bool) -> Result<Settled, WorkError> {
        let Some(last) = self.records.last() else { return Ok(Settled::default()) };
        self.retries.settle_knowing(connection, &last.place(), &self.records, None, is_blocked).await
    }
}

/// The topics of each role.
fn by_role(topics: Vec<OfTopic<'_>>) -> Vec<Vec<OfTopic<'_>>> {
    let mut roles: Vec<Vec<OfTopic<'_>>> = Vec::new();
    for topic in topics {
        let same = |known: &OfTopic<'_>| Arc::ptr_eq(&known.retries.role, &topic.retries.role);
        match roles.iter_mut().find(|role| role.first().is_some_and(same)) {
            Some(role) => role.push(topic),
            None => roles.push(vec![topic]),
        }
    }
    roles
}

/// After a commit: fills caches and metrics, and returns the documents to publish.
pub(super) fn remember(
    group: &Group,
    batches: &[&[Record]],
    mut settled: Settled,
    started: Instant,
) -> Vec<Document> {
    for remember in settled.remember {
        remember();
    }
    if failpoints::broken(failpoints::mechanism::ROW_VERSION) {
        let offset = batches.iter().filter_map(|batch| batch.last()).map(|last| last.offset + 1).max();
        settled.documents.iter_mut().for_each(|document| document.version = offset.unwrap_or_default());
    }
    let records: usize = batches.iter().map(|batch| batch.len()).sum();
    metrics::of_group(&metrics::RECORDS, group).inc_by(records as u64);
    metrics::of_group(&metrics::BATCH_RECORDS, group).observe(records as f64);
    metrics::of_group(&metrics::BATCH_SECONDS, group).observe(started.elapsed().as_secs_f64());
    if let Some(oldest) = batches.iter().filter_map(|batch| batch.first()?.stamped_at()).min() {
        // Clocks may differ.
        let age = (Utc::now() - oldest).to_std().unwrap_or_default();
        metrics::of_group(&metrics::FRESHNESS_ROW_SECONDS, group).observe(age.as_secs_f64());
    }
    for last in batches.iter().filter_map(|batch| batch.last()) {
        let (group, topic, to) = (&*group.own_name(), &*last.topic, last.offset + 1);
        let trace = last.header(envelope::TRACEPARENT);
        tracing::debug!(group, topic, partition = last.partition, to, records, trace, "batch committed");
    }
    settled.documents
}

pub(super) async fn publish(shares: &[Share], documents: Vec<Document>) {
    let reach = |Share { worker, .. }: &Share| {
        let Publishing { mark, .. } = worker.publishing.as_ref()?;
        Some((mark.clone(), worker.claim.applied))
    };
    let reaches: Vec<Reach> = shares.iter().filter_map(reach).collect();
    let publishing = shares.first().and_then(|share| share.worker.publishing.as_ref());
    if let Some(Publishing { publisher, .. }) = publishing {
        let stopped = async {
            select_all(shares.iter().map(|share| share.worker.stop.cancelled().boxed())).await;
        };
        publisher.send(reaches, documents, stopped).await;
    }
}
