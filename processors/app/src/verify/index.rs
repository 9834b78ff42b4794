//! One index: its documents by id, what is published in it, and the repair of single documents.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use millrace_runtime::{Document, Role};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::finding::{Finding, What};
use super::horizon::{self, Mark, Stand};
use crate::failure::Failure;
use crate::http::Http;
use crate::postgres::Database;
use crate::replay::compare::Twin;

/// Ids of documents in a page.
const IDS_PAGE: usize = 5_000;
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Elasticsearch remembers the version of what was deleted until a refresh after its clock's next tick.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(3);

/// What documents should be.
#[async_trait]
pub(super) trait Source: Sync {
    /// The document with this id as it should be now; `None` when there should be none.
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
    pub(super) elastic: &'i Http,
    pub(super) read: &'i Database,
    /// What publishes in it.
    pub(super) role: Arc<dyn Role>,
    pub(super) view: &'i str,
    /// Its name.
    pub(super) name: String,
    /// How long publishing may be behind.
    pub(super) patience: Duration,
}

/// What the documents of a view are like.
pub(super) struct Checked {
    /// How many were compared.
    pub(super) count: i64,
    pub(super) findings: Vec<Finding>,
}

/// A document as it is stored.
pub(super) struct Held {
    pub(super) version: i64,
    source: Value,
}

impl Index<'_> {
    /// The documents with these ids, as they are now: refreshed or not.
    pub(super) async fn held(&self, ids: &[String]) -> Result<HashMap<String, Held>, Failure> {
        let path = [self.name.as_str(), "_mget"];
        let answer = self.elastic.send(Method::POST, &path, Some(&json!({"ids": ids}))).await?;
        let mut answer = self.elastic.success(answer, &path)?;
        let documents = answer.get_mut("docs").and_then(Value::as_array_mut).map(std::mem::take);
        Ok(documents.unwrap_or_default().into_iter().filter_map(held).collect())
    }

    /// Waits until what was applied at a stand is published.
    pub(super) async fn published(&self, stand: &[Stand]) -> Result<(), Failure> {
        horizon::reached(self.read, self.role.group(), Mark::Published, stand, self.patience).await
    }

    /// A document that is not what it should be.
    pub(super) fn finding(&self, key: String, held: Option<Held>, row: Option<Document>) -> Finding {
        let version = held.as_ref().map(|held| held.version);
        let expected = row.as_ref().map(|row| row.version);
        let (serving, building) = (held.map(|held| held.source), row.as_ref().map(body));
        let finding = Finding::of(What::Document, self.view, Twin { key, serving, building });
        // Of a document its own version counts, not the field.
        Finding { versions: [version, expected], ..finding }
    }

    /// Begins to read the ids of all documents as they are now.
    pub(super) async fn search(&self) -> Result<Search<'_>, Failure> {
        let path = [self.name.as_str(), "_pit"];
        let opened = self.elastic.send_query(Method::POST, &path, &[("keep_alive", "1m")], None).await?;
        let pit = self.elastic.success(opened, &path)?.get("id").cloned().unwrap_or_default();
        Ok(Search { elastic: self.elastic, pit, after: Value::Null })
    }

    /// Makes a document what it should be. False when it cannot be done now.
    pub(super) async fn mend(&self, id: &str, source: &dyn Source) -> Result<bool, Failure> {
        let until = Instant::now() + FORGOTTEN_WITHIN;
        while !self.send(id, source.expected(id).await?.as_ref()).await? {
            if Instant::now() > until {
                return Ok(false);
            }
            self.forget(id, source).await?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(true)
    }

    /// Sends a document over one of the same or an older version; false when a later version is or was there.
    async fn send(&self, id: &str, document: Option<&Document>) -> Result<bool, Failure> {
        let path = [self.name.as_str(), "_doc", id];
        let Some(document) = document else {
            let answer = self.elastic.send(Method::DELETE, &path, None).await?;
            let gone = answer.status == StatusCode::NOT_FOUND;
            return if gone { Ok(true) } else { self.elastic.success(answer, &path).map(|_| true) };
        };
        let version = document.version.to_string();
        let query = [("version", version.as_str()), ("version_type", "external_gte")];
        let answer = self.elastic.send_query(Method::PUT, &path, &query, Some(&body(document))).await?;
        let later = answer.status == StatusCode::CONFLICT;
        if later { Ok(false) } else { self.elastic.success(answer, &path).map(|_| true) }
    }

    /// Deletes a document that is ahead of what it should be, exactly as it was seen, and lets go of what was deleted
    /// before. What it should be is asked for last: then no right document is ahead of it.
    async fn forget(&self, id: &str, source: &dyn Source) -> Result<(), Failure> {
        let path = [self.name.as_str(), "_doc", id];
        let seen = self.elastic.find(&path).await?.unwrap_or_default();
        let expected = source.expected(id).await?.map_or(0, |document| document.version);
        let figure = |name| seen.get(name).and_then(Value::as_i64);
        let seen = (figure("_version"), figure("_seq_no"), figure("_primary_term"));
        if let (Some(version), Some(seq_no), Some(term)) = seen
            && version > expected
        {
            let (seq_no, term) = (seq_no.to_string(), term.to_string());
            let query = [("if_seq_no", seq_no.as_str()), ("if_primary_term", term.as_str())];
            let answer = self.elastic.send_query(Method::DELETE, &path, &query, None).await?;
            if answer.status != StatusCode::CONFLICT {
                self.elastic.success(answer, &path)?;
            }
        }
        let path = [self.name.as_str(), "_refresh"];
        let answer = self.elastic.send(Method::POST, &path, None).await?;
        self.elastic.success(answer, &path).map(|_| ())
    }
}

/// Reads the ids of all documents.
pub(super) struct Search<'s> {
    elastic: &'s Http,
    pit: Value,
    after: Value,
}

impl Search<'_> {
    /// The next page of ids; `None` behind the last.
    pub(super) async fn page(&mut self) -> Result<Option<Vec<String>>, Failure> {
        let page = self.hits().await?;
        self.pit = page.get("pit_id").cloned().unwrap_or(std::mem::take(&mut self.pit));
        let hits = page.pointer("/hits/hits").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let Some(last) = hits.last() else {
            let pit = json!({"id": self.pit});
            let closed = self.elastic.send(Method::DELETE, &["_pit"], Some(&pit)).await?;
            return self.elastic.success(closed, &["_pit"]).map(|_| None);
        };
        self.after = last.get("sort").cloned().unwrap_or_default();
        let ids = hits.iter().filter_map(|hit| hit.get("_id").and_then(Value::as_str));
        Ok(Some(ids.map(str::to_owned).collect()))
    }

    async fn hits(&self) -> Result<Value, Failure> {
        let mut search = json!({
            "size": IDS_PAGE, "_source": false, "track_total_hits": false,
            "pit": {"id": self.pit, "keep_alive": "1m"}, "sort": [{"_shard_doc": "asc"}],
        });
        if let Some(search) = search.as_object_mut().filter(|_| !self.after.is_null()) {
            search.insert("search_after".to_owned(), self.after.clone());
        }
        let page = self.elastic.send(Method::POST, &["_search"], Some(&search)).await?;
        self.elastic.success(page, &["_search"])
    }
}

impl Held {
    /// Whether this is the document of a row.
    pub(super) fn is(&self, row: &Document) -> bool {
        self.version == row.version && self.source == body(row)
    }
}

fn held(mut document: Value) -> Option<(String, Held)> {
    let id = document.get("_id")?.as_str()?.to_owned();
    let version = document.get("_version")?.as_i64()?;
    let source = document.get_mut("_source")?.take();
    Some((id, Held { version, source }))
}

fn body(row: &Document) -> Value {
    serde_json::from_str(&row.body).unwrap_or_default()
}
