//! Rows to Elasticsearch, after their commit: whole, with the row's version as external version, so that an older
//! copy that arrives late changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use elasticsearch::http::Url;
use elasticsearch::http::transport::{SingleNodeConnectionPool, TransportBuilder};
use elasticsearch::{BulkParts, Elasticsearch};
use serde::Deserialize;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::database::Pool;
use crate::dead_letters::storable;
use crate::error::{Dependency, WorkError};
use crate::offsets::Claim;
use crate::{metrics, moments};

/// A `_bulk` request stays below this many bytes, well under Elasticsearch's limit of 100 MB.
const BULK_BYTES_MAX: usize = 4 << 20;
/// Bulks of one partition that wait for Elasticsearch; then the worker waits too.
const BULKS_WAITING_MAX: usize = 2;
/// Elasticsearch refuses a whole request for one longer id.
const ID_BYTES_MAX: usize = 512;

/// One document with its external version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The document's id: the row's key or the event's id.
    pub id: String,
    /// Greater than that of every earlier copy.
    pub version: i64,
    /// The JSON.
    pub body: String,
}

/// The search cluster.
#[derive(Clone)]
pub struct Elastic(Elasticsearch);

/// A document that Elasticsearch refuses for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its id.
    pub id: String,
    /// What Elasticsearch says.
    pub reason: String,
}

#[derive(Deserialize)]
struct Answer {
    errors: bool,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: Verdict,
}

#[derive(Deserialize)]
struct Verdict {
    status: u16,
    #[serde(default)]
    error: serde_json::Value,
}

impl Elastic {
    /// A client of the cluster at `url`, which answers within `timeout`. Connects when first used.
    ///
    /// # Errors
    /// When the URL is not usable.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, WorkError> {
        let refuse = |reason: String| WorkError::outage(Dependency::Elasticsearch, reason);
        let url = Url::parse(url).map_err(|error| refuse(error.to_string()))?;
        let transport = TransportBuilder::new(SingleNodeConnectionPool::new(url)).timeout(timeout).build();
        Ok(Self(Elasticsearch::new(transport.map_err(|error| refuse(error.to_string()))?)))
    }

    /// Sends documents, reads every verdict, and returns those that are refused for good. 409 means that the same or
    /// a newer copy is there.
    ///
    /// # Errors
    /// [`WorkError::Outage`]: all of them again, the versions make it harmless.
    pub async fn bulk(&self, index: &str, documents: &[Document]) -> Result<Vec<Refusal>, WorkError> {
        let (documents, mut refusals) = sendable(documents);
        if documents.is_empty() {
            return Ok(refusals);
        }
        let lost = |error: elasticsearch::Error| WorkError::outage(Dependency::Elasticsearch, error);
        let response = self
            .0
            .bulk(BulkParts::Index(index))
            .filter_path(&[
                "errors",
                "items.*.status",
                "items.*.error.reason",
                "items.*.error.caused_by.reason",
            ])
            .body(vec![encode(&documents)])
            .send()
            .await
            .map_err(lost)?;
        let status = response.status_code();
        if !status.is_success() {
            return Err(WorkError::outage(Dependency::Elasticsearch, format!("_bulk answered {status}")));
        }
        refusals.extend(verdicts(&documents, response.json().await.map_err(lost)?)?);
        Ok(refusals)
    }
}

/// Sorts out what would spoil the whole request.
fn sendable(documents: &[Document]) -> (Vec<&Document>, Vec<Refusal>) {
    let (sendable, too_long): (Vec<_>, Vec<_>) = documents.iter().partition(|d| d.id.len() <= ID_BYTES_MAX);
    let refuse = |document: &Document| Refusal {
        id: document.id.clone(),
        reason: format!("the id has {} bytes, at most {ID_BYTES_MAX} are possible", document.id.len()),
    };
    (sendable, too_long.into_iter().map(refuse).collect())
}

fn encode(documents: &[&Document]) -> Vec<u8> {
    let mut body = Vec::with_capacity(documents.iter().map(|d| d.body.len() + d.id.len() + 80).sum());
    for document in documents {
        let action = serde_json::json!({"index": {
            "_id": document.id, "version": document.version, "version_type": "external"
        }});
        body.extend_from_slice(action.to_string().as_bytes());
        body.push(b'\n');
        body.extend_from_slice(document.body.as_bytes());
        body.push(b'\n');
    }
    body.pop();
    body
}

fn verdicts(documents: &[&Document], answer: Answer) -> Result<Vec<Refusal>, WorkError> {
    if !answer.errors {
        return Ok(Vec::new());
    }
    let mut refusals = Vec::new();
    for (document, Item { index }) in documents.iter().zip(answer.items) {
        match index.status {
            200..=299 | 409 => {}
            // Too many requests, or a shard is away: the whole bulk again, the versions make it harmless.
            429 | 500..=599 => return Err(WorkError::outage(Dependency::Elasticsearch, index.error)),
            _ => refusals.push(Refusal { id: document.id.clone(), reason: index.error.to_string() }),
        }
    }
    Ok(refusals)
}

struct Bulk {
    to: i64,
    documents: Vec<Document>,
}

/// What waits goes in one request: the slower Elasticsearch answers, the fewer it is asked.
fn together(bulks: &mut Vec<Bulk>) -> Option<Bulk> {
    let to = bulks.last()?.to;
    Some(Bulk { to, documents: bulks.drain(..).flat_map(|bulk| bulk.documents).collect() })
}

/// The worker's end of a partition's publisher.
pub(crate) struct PublisherHandle {
    bulks: mpsc::Sender<Bulk>,
    claim: watch::Sender<Claim>,
    fenced: Arc<Notify>,
    dropped: AtomicBool,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl PublisherHandle {
    /// Starts publishing for a claim.
    pub(crate) fn start(
        elastic: Elastic,
        index: String,
        pool: Pool,
        claim: Claim,
        stop: CancellationToken,
    ) -> Self {
        let (bulks, waiting) = mpsc::channel(BULKS_WAITING_MAX);
        let (claim, held) = watch::channel(claim);
        let fenced = Arc::new(Notify::new());
        let acknowledged = Acknowledged { to: 0, refusals: Vec::new(), recorded: true };
        let publisher = Publisher {
            elastic,
            index,
            pool,
            claim: held,
            waiting,
            acknowledged,
            fenced: fenced.clone(),
            stop: stop.clone(),
        };
        let dropped = AtomicBool::new(false);
        Self { bulks, claim, fenced, dropped, stop, task: tokio::spawn(publisher.run()) }
    }

    /// Hands over what the records below `to` changed. Waits while too much is waiting. What is dropped because it is
    /// to stop is the end: anything handed over later would move `published` past it.
    pub(crate) async fn send(&self, to: i64, documents: Vec<Document>) {
        if self.dropped.load(Ordering::Relaxed) {
            return;
        }
        tokio::select! {
            biased;
            _ = self.bulks.send(Bulk { to, documents }) => {}
            () = self.stop.cancelled() => self.dropped.store(true, Ordering::Relaxed),
        }
    }

    /// Waits until the publisher finds that somebody else holds the partition.
    pub(crate) async fn fenced(&self) {
        self.fenced.notified().await;
    }

    /// The partition was claimed again.
    pub(crate) fn hold(&self, claim: Claim) {
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

/// What Elasticsearch has answered and Postgres does not know yet.
struct Acknowledged {
    to: i64,
    refusals: Vec<Refusal>,
    recorded: bool,
}

struct Publisher {
    elastic: Elastic,
    index: String,
    pool: Pool,
    claim: watch::Receiver<Claim>,
    waiting: mpsc::Receiver<Bulk>,
    acknowledged: Acknowledged,
    fenced: Arc<Notify>,
    stop: CancellationToken,
}

impl Publisher {
    async fn run(mut self) {
        let mut bulks = Vec::with_capacity(BULKS_WAITING_MAX);
        loop {
            let going_on = tokio::select! {
                _ = self.waiting.recv_many(&mut bulks, BULKS_WAITING_MAX) => match together(&mut bulks) {
                    Some(bulk) => self.publish(&bulk.documents, Some(bulk.to)).await,
                    None => false,
                },
                // Fenced before, claimed again by our worker: what was acknowledged still counts.
                Ok(()) = self.claim.changed(), if !self.acknowledged.recorded => self.publish(&[], None).await,
            };
            if !going_on {
                return;
            }
        }
    }

    /// Publishes documents however many tries it takes; false when it is to stop.
    async fn publish(&mut self, documents: &[Document], to: Option<i64>) -> bool {
        let mut backoff = Backoff::new();
        loop {
            let error = match self.attempt(documents, to).await {
                Ok(()) => return true,
                Err(WorkError::Fenced) => {
                    self.fenced.notify_one();
                    return true;
                }
                Err(error) => error,
            };
            tracing::warn!(index = self.index, %error, "documents not published");
            let dependency = error.dependency().unwrap_or(Dependency::Elasticsearch).to_string();
            if !backoff.wait_for(&dependency, &self.stop).await {
                return false;
            }
        }
    }

    async fn attempt(&mut self, documents: &[Document], to: Option<i64>) -> Result<(), WorkError> {
        let mut refusals = Vec::new();
        for part in parts(documents) {
            refusals.extend(self.elastic.bulk(&self.index, part).await?);
        }
        metrics::DOCUMENTS.with_label_values(&[self.index.as_str()]).inc_by(documents.len() as u64);
        moments::pass(moments::AFTER_BULK);
        // A second try of the same bulk brings the same refusals.
        if let Some(to) = to.filter(|to| self.acknowledged.recorded || self.acknowledged.to != *to) {
            self.acknowledged.to = to;
            self.acknowledged.recorded = false;
            self.acknowledged.refusals.extend(refusals);
        }
        self.pool.clone().in_time(self.record()).await?;
        self.acknowledged.recorded = true;
        self.acknowledged.refusals.clear();
        Ok(())
    }

    /// Moves `published`, fenced.
    async fn record(&mut self) -> Result<(), WorkError> {
        let claim = self.claim.borrow_and_update().clone();
        let Acknowledged { to, refusals, .. } = &self.acknowledged;
        let mut transaction = self.pool.begin().await?;
        // Losing this row when Postgres crashes only means publishing again, so the commit need not wait for the
        // disk; but the last one must stay, or `published` would be behind until the next bulk.
        if refusals.is_empty() && !self.waiting.is_empty() {
            sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *transaction).await?;
        }
        claim.publish(&mut transaction, *to).await?;
        for refusal in refusals {
            bury(&mut transaction, &claim, *to, &self.index, refusal).await?;
        }
        Ok(transaction.commit().await?)
    }
}

/// A document refused for good is a dead letter of its row; the row's next version is sent again.
async fn bury(
    connection: &mut sqlx::PgConnection,
    claim: &Claim,
    to: i64,
    index: &str,
    refusal: &Refusal,
) -> Result<(), WorkError> {
    metrics::DEAD_LETTERS.with_label_values(&[claim.group.id.as_str(), "document-refused"]).inc();
    tracing::warn!(index, id = refusal.id, reason = refusal.reason, "document refused");
    sqlx::query(
        "INSERT INTO dead_letter
             (grp, generation, topic, partition, \"offset\", key, record_type, code, message, attempts)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'document-refused', $8, 1)",
    )
    .bind(&claim.group.id)
    .bind(claim.group.generation)
    .bind(&claim.topic)
    .bind(claim.partition)
    .bind(to - 1)
    .bind(refusal.id.as_bytes())
    .bind(index)
    .bind(storable(&refusal.reason))
    .execute(connection)
    .await?;
    Ok(())
}

/// Cuts documents into requests of bounded size.
fn parts(documents: &[Document]) -> Vec<&[Document]> {
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (place, document) in documents.iter().enumerate() {
        if bytes + document.body.len() > BULK_BYTES_MAX && place > start {
            parts.extend(documents.get(start..place));
            (start, bytes) = (place, 0);
        }
        bytes += document.body.len();
    }
    parts.extend(documents.get(start..).filter(|rest| !rest.is_empty()));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::Group;

    fn document(id: &str, bytes: usize) -> Document {
        Document { id: id.to_owned(), version: 1, body: "x".repeat(bytes) }
    }

    fn answer(statuses: &[u16]) -> Answer {
        let items =
            statuses.iter().map(|status| Item { index: Verdict { status: *status, error: "why".into() } });
        Answer { errors: true, items: items.collect() }
    }

    #[test]
    fn a_request_stays_below_its_limit_and_no_document_is_left_out() {
        let documents: Vec<Document> =
            (0..10).map(|i| document(&i.to_string(), BULK_BYTES_MAX / 3)).collect();
        let parts = parts(&documents);
        assert!(parts.iter().all(|part| part.len() <= 3));
        assert_eq!(parts.concat(), documents);
    }

    #[test]
    fn an_older_copy_is_fine_a_bad_document_is_refused_and_its_neighbours_are_not() {
        let documents = [document("a", 1), document("b", 1), document("c", 1)];
        let refusals = verdicts(&documents.each_ref(), answer(&[409, 400, 201])).unwrap();
        assert_eq!(refusals, [Refusal { id: "b".to_owned(), reason: "\"why\"".to_owned() }]);
    }

    #[test]
    fn an_id_that_would_spoil_the_request_is_refused_by_itself() {
        let documents = [document(&"x".repeat(ID_BYTES_MAX + 1), 1), document("b", 1)];
        let (sendable, refusals) = sendable(&documents);
        assert_eq!((sendable, refusals.len()), (vec![&documents[1]], 1));
    }

    /// A handle whose publisher never takes anything, and what was handed over.
    fn handle(stop: &CancellationToken) -> (PublisherHandle, mpsc::Receiver<Bulk>) {
        let group = Group { id: "g".to_owned(), generation: 1 };
        let claim = Claim {
            group,
            topic: "t".to_owned(),
            partition: 0,
            epoch: 1,
            applied: 0,
            published: 0,
            topic_id: None,
        };
        let ((bulks, waiting), (claim, _)) = (mpsc::channel(1), watch::channel(claim));
        let (fenced, dropped) = (Arc::new(Notify::new()), AtomicBool::new(false));
        let task = tokio::spawn(async {});
        (PublisherHandle { bulks, claim, fenced, dropped, stop: stop.clone(), task }, waiting)
    }

    #[tokio::test]
    async fn nothing_is_handed_over_behind_what_was_dropped_at_a_stop() {
        let stop = CancellationToken::new();
        let (handle, mut waiting) = handle(&stop);
        handle.send(10, Vec::new()).await;
        stop.cancel();
        handle.send(20, Vec::new()).await;
        assert_eq!(waiting.recv().await.map(|bulk| bulk.to), Some(10), "there is room again");
        handle.send(30, Vec::new()).await;
        assert!(waiting.try_recv().is_err(), "`published` must not move past 20");
    }

    #[test]
    fn what_waits_goes_together_in_its_order() {
        let bulk = |to: i64, id: &str| Bulk { to, documents: vec![document(id, 1)] };
        let one = together(&mut vec![bulk(10, "a"), bulk(20, "b")]).unwrap();
        assert_eq!((one.to, one.documents), (20, vec![document("a", 1), document("b", 1)]));
        assert!(together(&mut Vec::new()).is_none(), "nobody hands anything over any more");
    }

    #[test]
    fn a_busy_shard_is_an_outage_even_when_the_answer_is_a_success() {
        assert!(verdicts(&[&document("a", 1)], answer(&[429])).is_err());
    }
}
