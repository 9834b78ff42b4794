//! Rows to Elasticsearch, after their commit: whole, with the row's version as external version, so that an older
//! copy that arrives late changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::backoff::Backoff;
use crate::buffer::{Permit, Room};
use crate::database::Pool;
use crate::dead_letters;
use crate::elastic::{Document, Elastic, Refusal, parts};
use crate::error::{Dependency, WorkError};
use crate::offsets::Claim;
use crate::supervision::Watch;
use crate::{failpoints, metrics};

/// What a document or an empty bulk takes in memory beside its texts.
const OVERHEAD_BYTES: usize = 100;
/// With nothing to publish for so long, nothing follows soon whose transaction would record what was acknowledged.
const IDLE: Duration = Duration::from_millis(50);

struct Bulk {
    to: i64,
    documents: Vec<Document>,
    /// Given back once Elasticsearch has answered.
    room: Vec<Permit>,
}

impl Bulk {
    /// What waits goes in one request: the slower Elasticsearch answers, the fewer it is asked.
    fn append(&mut self, later: Self) {
        self.to = later.to;
        self.documents.extend(later.documents);
        self.room.extend(later.room);
    }
}

/// The room that documents take until they are published.
fn room_needed(documents: &[Document]) -> usize {
    let bytes = |document: &Document| document.id.len() + document.body.len() + OVERHEAD_BYTES;
    documents.iter().map(bytes).sum::<usize>() + OVERHEAD_BYTES
}

/// How far Elasticsearch has answered, and how much of that Postgres knows: offsets, the next to come.
#[derive(Default)]
struct Marks {
    acknowledged: AtomicI64,
    recorded: AtomicI64,
}

/// The worker's end of a partition's publisher.
pub(crate) struct PublisherHandle {
    bulks: mpsc::UnboundedSender<Bulk>,
    room: Room,
    claim: watch::Sender<Claim>,
    marks: Arc<Marks>,
    fenced: Arc<Notify>,
    dropped: AtomicBool,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl PublisherHandle {
    /// Starts publishing for a claim; `room` is that of all partitions of the index.
    pub(crate) fn start(
        elastic: Elastic,
        index: String,
        room: Room,
        pool: Pool,
        claim: Claim,
        (watch, stop): (Watch, CancellationToken),
    ) -> Self {
        let (bulks, waiting) = mpsc::unbounded_channel();
        let (claim, claims) = watch::channel(claim);
        let (marks, fenced) = (Arc::<Marks>::default(), Arc::new(Notify::new()));
        let publisher = Publisher {
            elastic,
            index,
            pool,
            claim: claims,
            waiting,
            acknowledged: Acknowledged::default(),
            marks: marks.clone(),
            fenced: fenced.clone(),
            stop: stop.clone(),
        };
        let dropped = AtomicBool::new(false);
        let task = tokio::spawn(async move { watch.over("publisher", publisher.run()).await });
        Self { bulks, room, claim, marks, fenced, dropped, stop, task }
    }

    /// Hands over what the records below `to` changed. Waits while too much is waiting. What is dropped because it is
    /// to stop is the end: anything handed over later would move `published` past it.
    pub(crate) async fn send(&self, to: i64, documents: Vec<Document>) {
        if self.dropped.load(Ordering::Relaxed) {
            return;
        }
        tokio::select! {
            biased;
            room = self.room.take(room_needed(&documents)) => {
                // A publisher that has ended publishes nothing any more, and `published` stays where it is.
                let _ = self.bulks.send(Bulk { to, documents, room: vec![room] });
            }
            () = self.stop.cancelled() => self.dropped.store(true, Ordering::Relaxed),
        }
    }

    /// Every document below this offset is in Elasticsearch, or its refusal in the ledger. The next batch's transaction
    /// records it; see [`recorded`](Self::recorded).
    pub(crate) fn acknowledged(&self) -> i64 {
        self.marks.acknowledged.load(Ordering::Relaxed)
    }

    /// The `published` offset in Postgres is `to` now.
    pub(crate) fn recorded(&self, to: i64) {
        self.marks.recorded.fetch_max(to, Ordering::Relaxed);
    }

    /// Waits until the publisher finds that another worker has claimed the partition.
    pub(crate) async fn fenced(&self) {
        self.fenced.notified().await;
    }

    /// The partition was claimed again.
    pub(crate) fn set_claim(&self, claim: Claim) {
        self.claim.send_replace(claim);
    }

    /// Publishes what waits, unless Elasticsearch is away.
    pub(crate) async fn finish(self) {
        drop(self.bulks);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the publisher ended early");
        }
    }
}

/// What Elasticsearch has answered last.
#[derive(Default)]
struct Acknowledged {
    to: i64,
    /// Not in the ledger yet.
    refusals: Vec<Refusal>,
    /// Another worker had claimed the partition when this was to be recorded.
    fenced: bool,
}

struct Publisher {
    elastic: Elastic,
    index: String,
    pool: Pool,
    claim: watch::Receiver<Claim>,
    waiting: mpsc::UnboundedReceiver<Bulk>,
    acknowledged: Acknowledged,
    marks: Arc<Marks>,
    fenced: Arc<Notify>,
    stop: CancellationToken,
}

impl Publisher {
    async fn run(mut self) {
        loop {
            let going_on = tokio::select! {
                bulk = self.waiting.recv() => match bulk {
                    Some(bulk) => self.publish(bulk).await,
                    None => break,
                },
                // Fenced before, claimed again by our worker: what was acknowledged still counts.
                Ok(()) = self.claim.changed(), if self.is_unrecorded() => self.record().await,
                () = tokio::time::sleep(IDLE), if self.is_unrecorded() && !self.acknowledged.fenced => self.record().await,
            };
            if !going_on {
                return;
            }
        }
        if self.is_unrecorded() {
            self.record().await;
        }
    }

    fn is_unrecorded(&self) -> bool {
        let Acknowledged { to, refusals, .. } = &self.acknowledged;
        !refusals.is_empty() || *to > self.marks.recorded.load(Ordering::Relaxed)
    }

    /// Publishes documents however many tries it takes; false when it is to stop. Refusals are recorded at once,
    /// anything else with the next batch or when none follows.
    async fn publish(&mut self, mut bulk: Bulk) -> bool {
        let mut backoff = Backoff::new();
        let refusals = loop {
            let permit = self.elastic.concurrency.permit().await;
            while let Ok(later) = self.waiting.try_recv() {
                bulk.append(later);
            }
            let (index, documents) = (self.index.as_str(), bulk.documents.len());
            let span = tracing::debug_span!("bulk", index, to = bulk.to, documents);
            let sent = self.send(&bulk.documents).instrument(span).await;
            drop(permit);
            match sent {
                Ok(refusals) => break refusals,
                Err(error) if !self.waits_after(&error, &mut backoff).await => return false,
                Err(_) => {}
            }
        };
        failpoints::pass(failpoints::AFTER_BULK);
        self.acknowledged.to = bulk.to;
        self.acknowledged.refusals.extend(refusals);
        if !self.acknowledged.refusals.is_empty() {
            return self.record().await;
        }
        self.marks.acknowledged.store(bulk.to, Ordering::Relaxed);
        true
    }

    async fn send(&self, documents: &[Document]) -> Result<Vec<Refusal>, WorkError> {
        let mut refusals = Vec::new();
        for part in parts(documents) {
            refusals.extend(self.elastic.bulk(&self.index, part).await?);
        }
        metrics::DOCUMENTS.with_label_values(&[self.index.as_str()]).inc_by(documents.len() as u64);
        Ok(refusals)
    }

    /// Records what was acknowledged however many tries it takes, unless another worker has claimed the partition; false
    /// when it is to stop.
    async fn record(&mut self) -> bool {
        let mut backoff = Backoff::new();
        loop {
            let claim = self.claim.borrow_and_update().clone();
            let error = match self.pool.in_time(self.recorded(&claim)).await {
                Ok(()) => break,
                Err(error) => error,
            };
            self.acknowledged.fenced = matches!(error, WorkError::Fenced);
            if self.acknowledged.fenced {
                self.fenced.notify_one();
                return true;
            }
            if !self.waits_after(&error, &mut backoff).await {
                return false;
            }
        }
        let to = self.acknowledged.to;
        self.acknowledged = Acknowledged { to, ..Acknowledged::default() };
        self.marks.acknowledged.store(to, Ordering::Relaxed);
        self.marks.recorded.fetch_max(to, Ordering::Relaxed);
        true
    }

    /// Moves `published`, fenced.
    async fn recorded(&self, claim: &Claim) -> Result<(), WorkError> {
        let Acknowledged { to, refusals, .. } = &self.acknowledged;
        let mut transaction = self.pool.begin().await?;
        claim.publish(&mut transaction, *to).await?;
        for refusal in refusals {
            dead_letters::refused(
                &mut transaction,
                &claim.group,
                &claim.place(*to - 1),
                &self.index,
                refusal,
            )
            .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// False when it is to stop.
    async fn waits_after(&self, error: &WorkError, backoff: &mut Backoff) -> bool {
        tracing::warn!(index = self.index, %error, "documents not published");
        let dependency = error.dependency().unwrap_or(Dependency::Elasticsearch).to_string();
        backoff.wait_for(&dependency, &self.stop).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Buffers;
    use millrace_store::Group;

    /// In bytes: there is room for one such document and no second.
    const LARGE: usize = 600_000;

    fn document(id: &str, bytes: usize) -> Document {
        Document { id: id.to_owned(), version: 1, stream: None, body: "x".repeat(bytes) }
    }

    /// A handle with room for one document, whose publisher takes nothing by itself, and what was handed over.
    fn handle(stop: &CancellationToken) -> (PublisherHandle, mpsc::UnboundedReceiver<Bulk>) {
        let group = Group { id: "g".to_owned(), generation: 1 };
        let claim = Claim {
            group,
            topic: "t".to_owned(),
            partition: 0,
            epoch: 1,
            applied: 0,
            published: 0,
            topic_id: None,
            answered_below: 0,
            held: false,
        };
        let ((bulks, waiting), (claim, _)) = (mpsc::unbounded_channel(), watch::channel(claim));
        let handle = PublisherHandle {
            bulks,
            room: Buffers::new(0).records.room(),
            claim,
            marks: Arc::default(),
            fenced: Arc::new(Notify::new()),
            dropped: AtomicBool::new(false),
            stop: stop.clone(),
            task: tokio::spawn(async {}),
        };
        (handle, waiting)
    }

    #[tokio::test]
    async fn nothing_is_handed_over_behind_what_was_dropped_at_a_stop() {
        let stop = CancellationToken::new();
        let (handle, mut waiting) = handle(&stop);
        handle.send(10, vec![document("a", LARGE)]).await;
        stop.cancel();
        handle.send(20, vec![document("a", LARGE)]).await;
        assert_eq!(waiting.recv().await.map(|bulk| bulk.to), Some(10), "there is room again");
        handle.send(30, vec![document("a", LARGE)]).await;
        assert!(waiting.try_recv().is_err(), "`published` must not move past 20");
    }

    #[test]
    fn what_waits_goes_together_in_its_order() {
        let bulk = |to: i64, id: &str| Bulk { to, documents: vec![document(id, 1)], room: Vec::new() };
        let mut one = bulk(10, "a");
        one.append(bulk(20, "b"));
        assert_eq!((one.to, one.documents), (20, vec![document("a", 1), document("b", 1)]));
    }
}
