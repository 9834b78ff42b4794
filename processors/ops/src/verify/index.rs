//! The index of a generation, and the repair of documents.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use elasticsearch::params::VersionType;
use elasticsearch::{DeleteParts, GetParts, IndexParts};
use millrace_engine::{Document, Role};
use millrace_store::consumer_offset::{Mark, Stand};
use reqwest::StatusCode;
use serde_json::Value;

use super::finding::Finding;
use super::horizon;
use super::what::What;
use crate::failure::Failure;
use crate::index_reader::{Held, IndexReader, body};
use crate::postgres::Database;
use crate::replay::compare::Counterparts;

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long Elasticsearch remembers the version of a deleted document: until a refresh after the next tick of its clock.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(3);
/// Statuses that are not about the document: the index is blocked, missing, forbidden or busy.
const NOT_OF_THE_DOCUMENT: [StatusCode; 4] =
    [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND, StatusCode::TOO_MANY_REQUESTS];

/// The result of a repair.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Repaired {
    Now,
    /// It has changed meanwhile: the next comparison will show it.
    NotNow,
    /// It cannot be repaired, with the reason.
    Refused(String),
}

/// The source of expected documents.
#[async_trait]
pub(super) trait Source: Sync {
    /// The expected document with this id; `None` when there should be none.
    async fn expected(&self, id: &str) -> Result<Option<Document>, Failure>;
}

#[async_trait]
impl Source for BTreeMap<String, Document> {
    async fn expected(&self, id: &str) -> Result<Option<Document>, Failure> {
        Ok(self.get(id).cloned())
    }
}

/// The index of one generation of a view.
pub(super) struct Index<'i> {
    pub(super) reader: IndexReader<'i>,
    pub(super) read: &'i Database,
    /// The role that publishes to it.
    pub(super) role: Arc<dyn Role>,
    pub(super) view: &'i str,
    /// How long to wait for the publisher.
    pub(super) patience: Duration,
}

/// A document with the operation that wrote it.
struct Seen {
    version: i64,
    seq_no: i64,
    term: i64,
}

/// The result of a comparison of documents.
pub(super) struct Checked {
    /// The number of compared documents.
    pub(super) count: i64,
    pub(super) findings: Vec<Finding>,
}

impl Index<'_> {
    /// Waits until everything that was applied at these offsets is published.
    pub(super) async fn published(&self, stand: &[Stand]) -> Result<(), Failure> {
        horizon::reached(self.read, self.role.group(), Mark::Published, stand, self.patience).await
    }

    /// The finding for a document that differs.
    pub(super) fn finding(&self, key: String, held: Option<Held>, row: Option<Document>) -> Finding {
        let version = held.as_ref().map(|held| held.version);
        let expected = row.as_ref().map(|row| row.version);
        let (serving, building) = (held.map(|held| held.source), row.as_ref().map(body));
        let finding = Finding::of(What::Document, self.view, Counterparts { key, serving, building });
        // The external version counts, not the field.
        Finding { versions: [version, expected], ..finding }
    }

    /// Repairs a document. [`Repaired::NotNow`] when a later version exists.
    ///
    /// The document is read before the expected one. So a document with a higher version is wrong, and is deleted if it was not
    /// written since.
    pub(super) async fn repair(&self, id: &str, source: &dyn Source) -> Result<Repaired, Failure> {
        let until = Instant::now() + FORGOTTEN_WITHIN;
        loop {
            let seen = self.seen(id).await?;
            let expected = source.expected(id).await?;
            let repaired = match (&expected, &seen) {
                (Some(document), _) => self.send(id, document).await?,
                (None, Some(seen)) => self.delete(id, seen).await?,
                (None, None) => Repaired::Now,
            };
            if repaired != Repaired::NotNow || Instant::now() > until {
                return Ok(repaired);
            }
            if let (Some(document), Some(seen)) = (&expected, &seen)
                && seen.version > document.version
            {
                self.delete(id, seen).await?;
            }
            // Forgets the versions of deleted documents.
            self.reader.refresh().await?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Writes a document over one of the same or an older version; `NotNow` when a later version exists or existed.
    async fn send(&self, id: &str, document: &Document) -> Result<Repaired, Failure> {
        let IndexReader { elastic, name } = &self.reader;
        let body = &body(document);
        let sent = elastic.send(|client| async move {
            let index = client.index(IndexParts::IndexId(name, id)).body(body);
            index.version(document.version).version_type(VersionType::ExternalGte).send().await
        });
        let answer = sent.await?;
        if answer.status == StatusCode::CONFLICT {
            return Ok(Repaired::NotNow);
        }
        let of_the_document =
            answer.status.is_client_error() && !NOT_OF_THE_DOCUMENT.contains(&answer.status);
        match answer.success() {
            Err(refusal) if of_the_document => Ok(Repaired::Refused(refusal.to_string())),
            answer => answer.map(|_| Repaired::Now),
        }
    }

    /// The document as it is written at this moment. For an id that is no segment of a path (`..`) the index answers, which has
    /// no version: nothing is seen, and nothing will be deleted.
    async fn seen(&self, id: &str) -> Result<Option<Seen>, Failure> {
        let IndexReader { elastic, name } = &self.reader;
        let found =
            elastic.send(|client| async move { client.get(GetParts::IndexId(name, id)).send().await });
        let found = found.await?.found()?.unwrap_or_default();
        let figure = |name| found.get(name).and_then(Value::as_i64);
        let seen = (figure("_version"), figure("_seq_no"), figure("_primary_term"));
        Ok(match seen {
            (Some(version), Some(seq_no), Some(term)) => Some(Seen { version, seq_no, term }),
            _ => None,
        })
    }

    /// Deletes a document if it was not written since it was read; else `NotNow`.
    async fn delete(&self, id: &str, seen: &Seen) -> Result<Repaired, Failure> {
        let IndexReader { elastic, name } = &self.reader;
        let deleted = elastic.send(|client| async move {
            let delete = client.delete(DeleteParts::IndexId(name, id));
            delete.if_seq_no(seen.seq_no).if_primary_term(seen.term).send().await
        });
        let answer = deleted.await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(Repaired::Now),
            StatusCode::CONFLICT => Ok(Repaired::NotNow),
            _ => answer.success().map(|_| Repaired::Now),
        }
    }
}
