//! Elasticsearch: documents with external versions, in requests of bounded size.

use std::time::Duration;

use elasticsearch::http::Url;
use elasticsearch::http::transport::{SingleNodeConnectionPool, TransportBuilder};
use elasticsearch::{BulkParts, Elasticsearch};
use serde::Deserialize;

use crate::error::{Dependency, WorkError};
use crate::slots::Slots;

/// A `_bulk` request stays below this many bytes, well under Elasticsearch's limit of 100 MB.
pub(crate) const BULK_BYTES_MAX: usize = 4 << 20;
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

/// The search cluster, and how many requests of this process may be under way.
#[derive(Clone)]
pub struct Elastic {
    client: Elasticsearch,
    pub(crate) slots: Slots,
}

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
        let transport = transport.map_err(|error| refuse(error.to_string()))?;
        Ok(Self { client: Elasticsearch::new(transport), slots: Slots::new(usize::MAX) })
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
            .client
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

    #[test]
    fn a_busy_shard_is_an_outage_even_when_the_answer_is_a_success() {
        assert!(verdicts(&[&document("a", 1)], answer(&[429])).is_err());
    }
}
