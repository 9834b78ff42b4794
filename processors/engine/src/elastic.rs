//! Elasticsearch: documents with external versions, in requests of bounded size.

mod verdict;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use elasticsearch::http::headers::HeaderMap;
use elasticsearch::http::transport::{SingleNodeConnectionPool, TransportBuilder};
use elasticsearch::http::{Method, Url};
use elasticsearch::{BulkParts, Elasticsearch};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::access::{Access, AccessError, Renewed};
use crate::concurrency::ConcurrencyLimit;
use crate::error::{Dependency, WorkError};
use crate::metrics;
use crate::reason::Reason;
use verdict::Answer;

/// A `_bulk` request stays below this many bytes, well under Elasticsearch's limit of 100 MB.
const BULK_BYTES_MAX: usize = 4 << 20;
/// Elasticsearch refuses a whole request for one longer id.
const ID_BYTES_MAX: usize = 512;

/// One document with its external version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The document's id: the row's key or the event's id.
    pub id: String,
    /// The external version: higher than that of every earlier copy.
    pub version: i64,
    /// For a document of a log: the stream of its event. `None` for a row.
    pub stream: Option<String>,
    /// The JSON.
    pub body: String,
}

/// A client of the search cluster, with the limit on concurrent requests of this process.
#[derive(Clone)]
pub struct Elastic {
    client: Arc<Renewed<Elasticsearch>>,
    pub(crate) concurrency: ConcurrencyLimit,
}

/// A document that Elasticsearch refuses for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: i64,
    /// The stream of the [`Document`].
    pub stream: Option<String>,
    /// Elasticsearch's reason.
    pub reason: String,
}

impl Refusal {
    fn of(document: &Document, reason: String) -> Self {
        let Document { id, version, stream, .. } = document.clone();
        Self { id, version, stream, reason }
    }
}

/// The outcome of a request.
enum Exchanged {
    Answered(Answer),
    /// The whole request was refused because of some of its documents.
    Refused(String),
}

impl Elastic {
    /// The client of the cluster at `url`, which answers within `timeout`. Connects when first used; made again when a file of
    /// `access` changes.
    ///
    /// # Errors
    /// When the URL or a file is not usable, or TLS cannot be set up.
    pub fn client(
        url: &str,
        access: Access,
        timeout: Duration,
    ) -> Result<Renewed<Elasticsearch>, AccessError> {
        let url = Url::parse(url).map_err(AccessError::client)?;
        Renewed::new(access.files(), move || {
            let pool = SingleNodeConnectionPool::new(url.clone());
            let transport = access.of_elasticsearch(TransportBuilder::new(pool).timeout(timeout))?;
            Ok(Elasticsearch::new(transport.build().map_err(AccessError::client)?))
        })
    }

    /// Publishes with a [`client`](Self::client).
    ///
    /// # Errors
    /// As there.
    pub fn new(url: &str, access: Access, timeout: Duration) -> Result<Self, AccessError> {
        let client = Arc::new(Self::client(url, access, timeout)?);
        Ok(Self { client, concurrency: ConcurrencyLimit::new(usize::MAX) })
    }

    /// Sends documents and returns those that are refused for good. A 409 means that the index has the same or a newer version, and
    /// counts as success.
    ///
    /// # Errors
    /// [`WorkError::Outage`]: send all of them again; external versions make that idempotent.
    pub async fn bulk(&self, index: &str, documents: &[Document]) -> Result<Vec<Refusal>, WorkError> {
        let (documents, mut refusals) = sendable(documents);
        if !documents.is_empty() {
            refusals.extend(self.send(index, &documents).await?);
        }
        Ok(refusals)
    }

    /// Sends documents in one request, or in halves when Elasticsearch refuses the whole request because of some of them.
    fn send<'a>(
        &'a self,
        index: &'a str,
        documents: &'a [&'a Document],
    ) -> BoxFuture<'a, Result<Vec<Refusal>, WorkError>> {
        async move {
            let reason = match self.exchange(index, documents).await? {
                Exchanged::Answered(answer) => return verdict::refused(documents, &answer),
                Exchanged::Refused(reason) => reason,
            };
            if let [document] = documents {
                return Ok(vec![Refusal::of(document, reason)]);
            }
            let (left, right) = documents.split_at(documents.len() / 2);
            let mut refusals = self.send(index, left).await?;
            refusals.extend(self.send(index, right).await?);
            Ok(refusals)
        }
        .boxed()
    }

    async fn exchange(&self, index: &str, documents: &[&Document]) -> Result<Exchanged, WorkError> {
        let lost =
            |error: elasticsearch::Error| WorkError::outage(Dependency::Elasticsearch, Reason::of(error));
        let (client, path) = (self.client.get(), BulkParts::Index(index).url());
        let query = [("filter_path", verdict::FIELDS.join(","))];
        let began = Instant::now();
        // `Elasticsearch::bulk` would copy the body once more.
        let body = Some(encode(documents));
        let sent = client.send(Method::Post, &path, HeaderMap::new(), Some(&query), body, None);
        let response = sent.await.map_err(lost)?;
        let status = response.status_code();
        let body = response.bytes().await.map_err(lost)?;
        metrics::BULK_SECONDS.with_label_values(&[index]).observe(began.elapsed().as_secs_f64());
        if !status.is_success() {
            let refused = verdict::of_some_document(status.as_u16(), &body).map(Exchanged::Refused);
            return refused.ok_or_else(|| verdict::no_answer(status.as_u16(), &body));
        }
        let answer = serde_json::from_slice(&body).map(Exchanged::Answered);
        answer.map_err(|_| verdict::no_answer(status.as_u16(), &body))
    }
}

/// Separates documents because of which Elasticsearch would refuse the whole request.
fn sendable(documents: &[Document]) -> (Vec<&Document>, Vec<Refusal>) {
    let fits = |document: &&Document| (1..=ID_BYTES_MAX).contains(&document.id.len());
    let (sendable, others): (Vec<_>, Vec<_>) = documents.iter().partition(fits);
    let refuse = |document: &Document| {
        let bytes = document.id.len();
        Refusal::of(document, format!("the id has {bytes} bytes, 1 to {ID_BYTES_MAX} are possible"))
    };
    (sendable, others.into_iter().map(refuse).collect())
}

fn encode(documents: &[&Document]) -> Bytes {
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
    body.into()
}

/// Keeps the newest copy of each document, in the position of the first.
pub(crate) fn newest(documents: Vec<Document>) -> Vec<Document> {
    let mut newest: Vec<Document> = Vec::with_capacity(documents.len());
    let mut places: HashMap<String, usize> = HashMap::with_capacity(documents.len());
    for document in documents {
        let place = *places.entry(document.id.clone()).or_insert(newest.len());
        match newest.get_mut(place) {
            Some(earlier) if earlier.version < document.version => *earlier = document,
            Some(_) => {}
            None => newest.push(document),
        }
    }
    newest
}

/// Cuts documents into requests of bounded size.
pub(crate) fn parts(documents: &[Document]) -> Vec<&[Document]> {
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

    fn document(id: &str, bytes: usize) -> Document {
        Document { id: id.to_owned(), version: 1, stream: None, body: "x".repeat(bytes) }
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
    fn an_id_for_which_the_request_would_be_refused_is_refused_by_itself() {
        let documents = [document(&"x".repeat(ID_BYTES_MAX + 1), 1), document("b", 1), document("", 1)];
        let (sendable, refusals) = sendable(&documents);
        assert_eq!((sendable, refusals.len()), (vec![&documents[1]], 2));
    }
}
