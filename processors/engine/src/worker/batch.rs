//! Batches of several partitions: what has arrived on them since the last batch, in one transaction.
//!
//! Such a batch is tried once. Whatever keeps it from a plain commit (a record that fails, a partition that another worker has
//! claimed or that is paused, a dependency that is away) is found and waited for by each partition apart from the others.

use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt as _;
use futures::future::select_all;
use millrace_store::{Group, blocked_key};
use sqlx::{PgConnection, Postgres, Transaction};
use tracing::Instrument as _;

use super::{Publishing, Worker};
use crate::concurrency::Permit;
use crate::database::Pool;
use crate::elastic::Document;
use crate::error::WorkError;
use crate::failpoints;
use crate::offsets::{Step, advance};
use crate::publisher::Reach;
use crate::record::Record;
use crate::retry::{Lane, Retries, Settled};
use crate::{envelope, metrics};

/// The records that a batch has of one partition, in their order.
pub(crate) struct Share {
    pub(crate) worker: Worker,
    pub(crate) records: Vec<Record>,
}

/// How a worker comes out of a batch.
pub(crate) enum Ended {
    /// All of its records are done.
    Done(Worker),
    /// Nothing of them is: they are to be tried apart from those of other partitions.
    Apart(Share),
    /// The partition is to be given back.
    GivenBack(Worker),
}

impl Ended {
    /// A worker has come to its end, and goes on or not.
    pub(crate) fn of(worker: Worker, going_on: bool) -> Self {
        if going_on { Self::Done(worker) } else { Self::GivenBack(worker) }
    }
}

/// Applies records of one partition, however many tries it takes.
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
    let (mut shares, apart): (Vec<Share>, Vec<Share>) = shares.into_iter().partition(Share::is_new);
    // What locks several rows of `consumer_offset` does it in this order, and roles meet their topics in it.
    shares.sort_by_key(|Share { worker: Worker { claim, .. }, .. }| (claim.topic.clone(), claim.partition));
    let mut ended: Vec<Ended> = apart.into_iter().map(Ended::Apart).collect();
    let span = tracing::debug_span!("batch", partitions = shares.len());
    let committed = try_once(&mut shares, permit).instrument(span).await;
    let end = |share: Share| if committed { Ended::Done(share.worker) } else { Ended::Apart(share) };
    ended.extend(shares.into_iter().map(end));
    ended
}

impl Share {
    /// Whether none of its records is read again after it was applied or answered.
    fn is_new(&self) -> bool {
        let from = self.worker.claim.applied.max(self.worker.answered_below());
        self.records.first().is_some_and(|first| first.offset >= from)
    }

    /// How the batch moves the offsets.
    fn step(&self) -> Step<'_> {
        let claim = &self.worker.claim;
        let to = self.records.last().map_or(claim.applied, |last| last.offset + 1);
        Step { claim, to, published: self.worker.acknowledged() }
    }
}

/// Whether the batch was committed.
async fn try_once(shares: &mut [Share], permit: Option<Permit>) -> bool {
    let started = Instant::now();
    let Some(Share { worker, .. }) = shares.first() else { return true };
    let (role, group) = (worker.retries.role.clone(), worker.claim.group.clone());
    let steps: Vec<Step<'_>> = shares.iter().map(Share::step).collect();
    let moved: Vec<(i64, Option<i64>)> = steps.iter().map(|step| (step.to, step.published)).collect();
    let settled = match role.database().in_time(commit(shares, &steps)).await {
        Ok(Some(settled)) => settled,
        Ok(None) => return false,
        Err(error) => {
            role.forget();
            tracing::debug!(group = %group.own_name(), %error, "not committed together: each partition is tried apart");
            return false;
        }
    };
    drop(permit);
    failpoints::pass(failpoints::AFTER_COMMIT);
    let batches: Vec<&[Record]> = shares.iter().map(|share| share.records.as_slice()).collect();
    let documents = remember(&group, &batches, settled, started);
    for (share, (to, published)) in shares.iter_mut().zip(moved) {
        share.worker.applied(to, published);
    }
    publish(shares, documents).await;
    true
}

/// `None` when a record is not simply applied.
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
    let mut transaction = pool.begin().await?;
    advance(&mut transaction, steps).await?;
    if failpoints::broken(failpoints::mechanism::ONE_TRANSACTION) {
        transaction.commit().await?;
        transaction = pool.begin().await?;
    }
    Ok(transaction)
}

pub(super) async fn end(transaction: Transaction<'static, Postgres>) -> Result<(), WorkError> {
    failpoints::pass(failpoints::BEFORE_COMMIT);
    Ok(transaction.commit().await?)
}

/// The records of a topic, those of each partition in their order.
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

/// Topics without a blocked key have one fold for each role, which is plain where it has several: what fails is settled topic by
/// topic. Those with a blocked key are settled by themselves, behind them.
async fn settle(
    connection: &mut PgConnection,
    group: &Group,
    shares: &[Share],
) -> Result<Option<Settled>, WorkError> {
    let topics = by_topic(shares);
    let names: Vec<&str> = topics.iter().map(|topic| topic.topic).collect();
    let blocked = blocked_key::topics(connection, group, &names).await?;
    let (blocked, plain): (Vec<_>, Vec<_>) =
        topics.into_iter().partition(|topic| blocked.iter().any(|blocked| blocked == topic.topic));
    let mut settled = Settled::default();
    for of_role in by_role(plain) {
        let Some(more) = of_role.settle_unblocked(connection).await? else { return Ok(None) };
        settled.and(more);
    }
    for OfTopic { retries, records, .. } in blocked {
        if let Some(last) = records.last() {
            settled.and(retries.settle_blocked(connection, &last.place(), &records).await?);
        }
    }
    Ok(Some(settled))
}

/// The topics of one role.
struct OfRole<'b> {
    first: OfTopic<'b>,
    /// Records of further topics are behind those of the first.
    several: bool,
}

impl OfRole<'_> {
    /// `None` when a record of several topics is not simply applied.
    async fn settle_unblocked(self, connection: &mut PgConnection) -> Result<Option<Settled>, WorkError> {
        let OfTopic { retries, records, .. } = self.first;
        match records.last() {
            Some(last) if !self.several => {
                retries.settle_unblocked(connection, &last.place(), &records).await.map(Some)
            }
            _ => retries.settle_plain(connection, &records).await,
        }
    }
}

fn by_role(topics: Vec<OfTopic<'_>>) -> Vec<OfRole<'_>> {
    let mut roles: Vec<OfRole<'_>> = Vec::new();
    for topic in topics {
        let same = |known: &&mut OfRole<'_>| Arc::ptr_eq(&known.first.retries.role, &topic.retries.role);
        match roles.iter_mut().find(same) {
            Some(known) => {
                known.first.records.extend(topic.records);
                known.several = true;
            }
            None => roles.push(OfRole { first: topic, several: false }),
        }
    }
    roles
}

/// After a commit: fills caches and counts; what is to be published is left.
pub(super) fn remember(
    group: &Group,
    batches: &[&[Record]],
    settled: Settled,
    started: Instant,
) -> Vec<Document> {
    for remember in settled.remember {
        remember();
    }
    let records: usize = batches.iter().map(|batch| batch.len()).sum();
    metrics::of_group(&metrics::RECORDS, group).inc_by(records as u64);
    metrics::of_group(&metrics::BATCH_RECORDS, group).observe(records as f64);
    metrics::of_group(&metrics::BATCH_SECONDS, group).observe(started.elapsed().as_secs_f64());
    for last in batches.iter().filter_map(|batch| batch.last()) {
        let (group, topic, to) = (&*group.own_name(), &*last.topic, last.offset + 1);
        let trace = last.header(envelope::TRACEPARENT);
        tracing::debug!(group, topic, partition = last.partition, to, records, trace, "batch committed");
    }
    settled.documents
}

async fn publish(shares: &[Share], documents: Vec<Document>) {
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
