//! Publishes rows to Elasticsearch after their commit: each as a whole document with the row's version as external version, so that
//! an older copy that arrives late changes nothing. A group has one publisher in each process, for all its partitions there.

mod acknowledged;
mod mark;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::backoff::Backoff;
use crate::buffer::{Permit, Room};
use crate::database::Pool;
use crate::elastic::{Document, Elastic, Refusal, newest, parts};
use crate::error::WorkError;
use crate::supervision::Watch;
use crate::{failpoints, metrics};
use acknowledged::Acknowledged;
pub(crate) use mark::Mark;

/// Memory of a document or an empty bulk beside its texts, in bytes.
const OVERHEAD_BYTES: usize = 100;
/// When there is nothing to publish for this long, the publisher records the acknowledged offsets itself, instead of leaving it to
/// the next batch's transaction.
const IDLE: Duration = Duration::from_millis(50);

/// While documents arrive all the time, a request is made this often, unless it is large: a document is found only after the next
/// refresh of its index, and a request costs Elasticsearch as much as some hundred small documents.
const BULKS_EVERY: Duration = Duration::from_millis(100);
/// A request of this size, in bytes, is made at once.
const LARGE_BYTES: usize = 256 << 10;

/// A partition's mark, and the offset that it reaches once a bulk is acknowledged.
pub(crate) type Reach = (Arc<Mark>, i64);

struct Bulk {
    reaches: Vec<Reach>,
    documents: Vec<Document>,
    /// The room in the buffer, given back once Elasticsearch has answered.
    room: Vec<Permit>,
    /// When the first of its rows were committed.
    since: Instant,
}

impl Bulk {
    /// Adds a later bulk, so that all waiting documents go in one request: the slower Elasticsearch is, the fewer requests it gets.
    fn append(&mut self, later: Self) {
        self.reaches.extend(later.reaches);
        self.documents.extend(later.documents);
        self.room.extend(later.room);
    }

    fn is_large(&self) -> bool {
        room_needed(&self.documents) >= LARGE_BYTES
    }
}

/// The bytes that documents take in the buffer until they are published.
fn room_needed(documents: &[Document]) -> usize {
    let bytes = |document: &Document| document.id.len() + document.body.len() + OVERHEAD_BYTES;
    documents.iter().map(bytes).sum::<usize>() + OVERHEAD_BYTES
}

enum Message {
    Bulk(Bulk),
    /// A partition was claimed again: its acknowledged offset can be recorded.
    ClaimedAgain,
    /// Answered once all earlier bulks are published and recorded.
    Flush(oneshot::Sender<()>),
}

/// The workers' end of a publisher.
pub(crate) struct PublisherHandle {
    messages: mpsc::UnboundedSender<Message>,
    room: Room,
    stuck: watch::Receiver<bool>,
}

impl PublisherHandle {
    /// Starts publishing to an index; `room` is for documents that are not acknowledged.
    pub(crate) fn start(elastic: Elastic, index: String, room: Room, pool: Pool, watch: Watch) -> Self {
        let ((messages, waiting), (sticks, stuck)) = (mpsc::unbounded_channel(), watch::channel(false));
        let publisher = Publisher {
            elastic,
            index,
            pool,
            waiting,
            next: None,
            acknowledged: Acknowledged::default(),
            next_at: Instant::now(),
            stuck: sticks,
            stop: watch.leave().clone(),
        };
        tokio::spawn(async move { watch.over("publisher", publisher.run()).await });
        Self { messages, room, stuck }
    }

    /// Hands over the documents of a batch and the offsets that its partitions reach with them. Waits for room in the buffer unless
    /// `stopped`; then the documents are handed over without room, since a later bulk must not move the marks beyond them.
    pub(crate) async fn send(
        &self,
        reaches: Vec<Reach>,
        documents: Vec<Document>,
        stopped: impl Future<Output = ()>,
    ) {
        let since = Instant::now();
        let room = tokio::select! {
            biased;
            room = self.room.take(room_needed(&documents)) => Some(room),
            () = stopped => None,
        };
        // A publisher that has ended publishes nothing, and `published` does not move.
        let bulk = Bulk { reaches, documents, room: room.into_iter().collect(), since };
        let _ = self.messages.send(Message::Bulk(bulk));
    }

    /// The partition was claimed again.
    pub(crate) fn claimed_again(&self) {
        let _ = self.messages.send(Message::ClaimedAgain);
    }

    /// Waits until everything that was handed over is published and recorded, unless a dependency is away.
    pub(crate) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        let mut stuck = self.stuck.clone();
        if self.messages.send(Message::Flush(done)).is_ok() {
            tokio::select! {
                _ = flushed => {}
                _ = stuck.wait_for(|stuck| *stuck) => {}
            }
        }
    }
}

struct Publisher {
    elastic: Elastic,
    index: String,
    pool: Pool,
    waiting: mpsc::UnboundedReceiver<Message>,
    /// The message after the last bulk that was appended.
    next: Option<Message>,
    acknowledged: Acknowledged,
    /// When the next request may be made that is not large.
    next_at: Instant,
    /// Whether a dependency is away.
    stuck: watch::Sender<bool>,
    stop: CancellationToken,
}

impl Publisher {
    async fn run(mut self) {
        loop {
            let going_on = tokio::select! {
                biased;
                message = receive(&mut self.next, &mut self.waiting) => match message {
                    Some(Message::Bulk(bulk)) => self.publish(bulk).await,
                    Some(Message::ClaimedAgain) => self.record().await,
                    Some(Message::Flush(done)) => self.flush(done).await,
                    None => break,
                },
                () = tokio::time::sleep(IDLE), if self.acknowledged.is_due() => self.record().await,
            };
            if !going_on {
                return;
            }
        }
        self.record().await;
    }

    async fn flush(&mut self, done: oneshot::Sender<()>) -> bool {
        let recorded = self.record().await;
        // The member may have stopped waiting.
        let _ = done.send(());
        recorded
    }

    /// Publishes documents, with as many attempts as it takes; false when stopped. Refusals are recorded at once, acknowledged
    /// offsets with the next batch or after [`IDLE`].
    async fn publish(&mut self, mut bulk: Bulk) -> bool {
        let mut backoff = Backoff::new();
        self.gather(&mut bulk).await;
        self.next_at = Instant::now() + BULKS_EVERY;
        let refusals = loop {
            let permit = self.elastic.concurrency.permit().await;
            self.append_waiting(&mut bulk);
            bulk.documents = newest(std::mem::take(&mut bulk.documents));
            let (index, documents) = (self.index.as_str(), bulk.documents.len());
            let span = tracing::debug_span!("bulk", index, documents);
            let sent = self.send(&bulk.documents).instrument(span).await;
            drop(permit);
            match sent {
                Ok(refusals) => break refusals,
                Err(error) if !self.waits_after(&error, &mut backoff).await => return false,
                Err(_) => {}
            }
        };
        drop(backoff);
        self.stuck.send_replace(false);
        if !bulk.documents.is_empty() {
            let fresh = metrics::FRESHNESS_DOCUMENT_SECONDS.with_label_values(&[self.index.as_str()]);
            fresh.observe(bulk.since.elapsed().as_secs_f64());
        }
        failpoints::pass(failpoints::AFTER_BULK);
        if self.acknowledged.add(bulk.reaches, refusals) {
            return self.record().await;
        }
        true
    }

    /// Adds later documents until the next request may be made. A message of another kind ends that.
    async fn gather(&mut self, bulk: &mut Bulk) {
        while self.next.is_none() && !bulk.is_large() {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(self.next_at) => return,
                message = self.waiting.recv() => match message {
                    Some(Message::Bulk(later)) => bulk.append(later),
                    Some(other) => self.next = Some(other),
                    None => return,
                },
            }
        }
    }

    fn append_waiting(&mut self, bulk: &mut Bulk) {
        while self.next.is_none() {
            match self.waiting.try_recv() {
                Ok(Message::Bulk(later)) => bulk.append(later),
                Ok(other) => self.next = Some(other),
                Err(_) => return,
            }
        }
    }

    async fn send(&self, documents: &[Document]) -> Result<Vec<Refusal>, WorkError> {
        let mut refusals = Vec::new();
        for part in parts(documents) {
            refusals.extend(self.elastic.bulk(&self.index, part).await?);
        }
        metrics::DOCUMENTS.with_label_values(&[self.index.as_str()]).inc_by(documents.len() as u64);
        Ok(refusals)
    }

    /// Records acknowledged offsets, with as many attempts as it takes, except of partitions that another worker has claimed; false
    /// when stopped.
    async fn record(&mut self) -> bool {
        let mut backoff = Backoff::new();
        loop {
            let due = self.acknowledged.due();
            let recorded = self.pool.in_time(self.acknowledged.record(&self.pool, &self.index, &due));
            match recorded.await {
                Ok(moved) => {
                    self.acknowledged.recorded(&due, &moved);
                    self.stuck.send_replace(false);
                    return true;
                }
                Err(error) if !self.waits_after(&error, &mut backoff).await => return false,
                Err(_) => {}
            }
        }
    }

    /// Waits before the next attempt; false when stopped.
    async fn waits_after(&self, error: &WorkError, backoff: &mut Backoff) -> bool {
        self.stuck.send_replace(true);
        let logs = || tracing::warn!(index = self.index, %error, "documents not published");
        backoff.wait_after((&self.index, error), &self.stop, logs).await
    }
}

/// The next message; one that was taken before comes first.
async fn receive(
    next: &mut Option<Message>,
    waiting: &mut mpsc::UnboundedReceiver<Message>,
) -> Option<Message> {
    match next.take() {
        Some(message) => Some(message),
        None => waiting.recv().await,
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::buffer::Buffers;

    /// Bytes: a share has room for one such document and not for two.
    const LARGE: usize = 600_000;

    fn document(id: &str, version: i64, bytes: usize) -> Document {
        Document { id: id.to_owned(), version, stream: None, body: "x".repeat(bytes) }
    }

    /// A handle with room for one document and no running publisher, and the messages that it sends.
    fn handle() -> (PublisherHandle, mpsc::UnboundedReceiver<Message>) {
        let ((messages, waiting), (_, stuck)) = (mpsc::unbounded_channel(), watch::channel(false));
        let room = Buffers::new(0).records.room();
        (PublisherHandle { messages, room, stuck }, waiting)
    }

    #[tokio::test]
    async fn what_finds_no_room_waits_and_at_a_stop_nothing_that_follows_passes_it() {
        let (handle, mut waiting) = handle();
        let large = |id| vec![document(id, 1, LARGE)];
        handle.send(Vec::new(), large("a"), std::future::pending()).await;
        let second = handle.send(Vec::new(), large("b"), std::future::pending()).now_or_never();
        assert!(second.is_none(), "there is no room");
        handle.send(Vec::new(), large("b"), async {}).await;
        handle.send(Vec::new(), large("c"), async {}).await;
        let ids = std::iter::from_fn(|| match waiting.try_recv() {
            Ok(Message::Bulk(bulk)) => bulk.documents.first().map(|document| document.id.clone()),
            _ => None,
        });
        assert_eq!(ids.collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn what_waits_goes_together_and_of_each_document_the_newest_copy() {
        let mark = Arc::new(Mark::new(mark::tests::claim("t", 0)));
        let since = Instant::now();
        let bulk =
            |to, documents| Bulk { reaches: vec![(mark.clone(), to)], documents, room: Vec::new(), since };
        let mut one = bulk(10, vec![document("a", 1, 1), document("b", 7, 1)]);
        one.append(bulk(20, vec![document("a", 2, 1), document("b", 6, 1), document("c", 1, 1)]));
        let left: Vec<(String, i64)> =
            newest(one.documents).into_iter().map(|document| (document.id, document.version)).collect();
        assert_eq!(left, [("a".to_owned(), 2), ("b".to_owned(), 7), ("c".to_owned(), 1)]);
        assert_eq!(one.reaches.iter().map(|(_, to)| *to).collect::<Vec<_>>(), [10, 20]);
    }
}
