//! Reads an Elasticsearch index: documents by id, and the ids of all documents in a point in time.

use std::collections::HashMap;

use elasticsearch::indices::IndicesRefreshParts;
use elasticsearch::{MgetParts, OpenPointInTimeParts, SearchParts};
use millrace_engine::Document;
use serde_json::{Value, json};

use crate::elastic::Client;
use crate::failure::Failure;

/// Ids of documents in a page.
const IDS_PAGE: usize = 5_000;
/// How long a point in time is kept after its last use.
const KEPT_FOR: &str = "10m";

/// Reads one index.
pub(crate) struct IndexReader<'i> {
    pub(crate) elastic: &'i Client,
    /// Its name.
    pub(crate) name: String,
}

/// A document as it is stored.
#[derive(PartialEq)]
pub(crate) struct Held {
    pub(crate) version: i64,
    pub(crate) source: Value,
}

impl<'i> IndexReader<'i> {
    /// The current documents with these ids, whether refreshed or not.
    ///
    /// # Errors
    /// [`Failure`], as of every request here.
    pub(crate) async fn held(&self, ids: &[String]) -> Result<HashMap<String, Held>, Failure> {
        let body = &json!({"ids": ids});
        let answer = self
            .elastic
            .send(|client| async move { client.mget(MgetParts::Index(&self.name)).body(body).send().await });
        let mut answer = answer.await?.success()?;
        let documents = answer.get_mut("docs").and_then(Value::as_array_mut).map(std::mem::take);
        let documents = documents.unwrap_or_default();
        // An error of a shard does not mean that the document is missing.
        if let Some(error) = documents.iter().find_map(|document| document.get("error")) {
            return Err(Failure::refused(format!("Elasticsearch does not read from {}: {error}", self.name)));
        }
        Ok(documents.into_iter().filter_map(held).collect())
    }

    /// Refreshes the index, so that searches see all written documents.
    ///
    /// # Errors
    /// As above.
    pub(crate) async fn refresh(&self) -> Result<(), Failure> {
        let index = [self.name.as_str()];
        let refreshed = self.elastic.send(|client| async move {
            client.indices().refresh(IndicesRefreshParts::Index(&index)).send().await
        });
        refreshed.await?.success().map(|_| ())
    }

    /// The ids of all documents that searches see now.
    ///
    /// # Errors
    /// As above.
    pub(crate) async fn ids(&self) -> Result<Ids<'i>, Failure> {
        let index = [self.name.as_str()];
        let opened = self.elastic.send(|client| async move {
            let open = client.open_point_in_time(OpenPointInTimeParts::Index(&index));
            open.keep_alive(KEPT_FOR).send().await
        });
        let pit = opened.await?.success()?.get("id").cloned().unwrap_or_default();
        Ok(Ids { elastic: self.elastic, pit, after: Value::Null, query: None })
    }

    /// The ids of documents whose last write has a `_seq_no` in this range, the end excluded.
    ///
    /// # Errors
    /// As above.
    pub(crate) async fn ids_between(&self, from: i64, to: i64) -> Result<Ids<'i>, Failure> {
        let query = json!({"range": {"_seq_no": {"gte": from, "lt": to}}});
        Ok(Ids { query: Some(query), ..self.ids().await? })
    }

    /// The ids of documents that searches see now, with this value in a field.
    ///
    /// # Errors
    /// As above.
    pub(crate) async fn ids_with(&self, field: &str, value: &str) -> Result<Ids<'i>, Failure> {
        self.refresh().await?;
        Ok(Ids { query: Some(json!({"term": {field: value}})), ..self.ids().await? })
    }

    /// The highest `_seq_no` of a document.
    ///
    /// # Errors
    /// As above.
    pub(crate) async fn last_operation(&self) -> Result<i64, Failure> {
        let index = [self.name.as_str()];
        let search = &json!({"size": 0, "aggs": {"last": {"max": {"field": "_seq_no"}}}});
        let found = self.elastic.send(|client| async move {
            client.search(SearchParts::Index(&index)).body(search).send().await
        });
        let last = found.await?.success()?.pointer("/aggregations/last/value").cloned();
        Ok(last.as_ref().and_then(Value::as_f64).map_or(0, |last| last as i64))
    }
}

/// The ids of documents in a point in time, a page at a time.
pub(crate) struct Ids<'i> {
    elastic: &'i Client,
    pit: Value,
    after: Value,
    /// Only documents that match it.
    query: Option<Value>,
}

impl Ids<'_> {
    /// Their number.
    ///
    /// # Errors
    /// As those of [`IndexReader`].
    pub(crate) async fn count(&self) -> Result<i64, Failure> {
        let search = json!({"size": 0, "track_total_hits": true, "pit": self.pit()});
        let found = self.search(&search).await?;
        Ok(found.pointer("/hits/total/value").and_then(Value::as_i64).unwrap_or_default())
    }

    /// The next page of ids; `None` after the last.
    ///
    /// # Errors
    /// As those of [`IndexReader`].
    pub(crate) async fn page(&mut self) -> Result<Option<Vec<String>>, Failure> {
        let page = self.hits().await?;
        self.pit = page.get("pit_id").cloned().unwrap_or(std::mem::take(&mut self.pit));
        let hits = page.pointer("/hits/hits").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let Some(last) = hits.last() else { return Ok(None) };
        self.after = last.get("sort").cloned().unwrap_or_default();
        let ids = hits.iter().filter_map(|hit| hit.get("_id").and_then(Value::as_str));
        Ok(Some(ids.map(str::to_owned).collect()))
    }

    /// Closes the point in time. Elasticsearch does it itself some minutes after the last use.
    ///
    /// # Errors
    /// As those of [`IndexReader`].
    pub(crate) async fn close(self) -> Result<(), Failure> {
        let pit = &json!({"id": self.pit});
        let closed =
            self.elastic.send(|client| async move { client.close_point_in_time().body(pit).send().await });
        closed.await?.success().map(|_| ())
    }

    async fn hits(&self) -> Result<Value, Failure> {
        let mut search = json!({
            "size": IDS_PAGE, "_source": false, "track_total_hits": false, "pit": self.pit(),
            "sort": [{"_shard_doc": "asc"}],
        });
        if let Some(search) = search.as_object_mut().filter(|_| !self.after.is_null()) {
            search.insert("search_after".to_owned(), self.after.clone());
        }
        if let (Some(search), Some(query)) = (search.as_object_mut(), &self.query) {
            search.insert("query".to_owned(), query.clone());
        }
        self.search(&search).await
    }

    async fn search(&self, search: &Value) -> Result<Value, Failure> {
        let found = self.elastic.send(|client| async move {
            let whole = client.search(SearchParts::None).allow_partial_search_results(false);
            whole.body(search).send().await
        });
        found.await?.success()
    }

    fn pit(&self) -> Value {
        json!({"id": self.pit, "keep_alive": KEPT_FOR})
    }
}

impl Held {
    /// Whether it equals the document.
    pub(crate) fn is(&self, document: &Document) -> bool {
        self.version == document.version && self.source == body(document)
    }

    /// Its fields, with the document's external version.
    pub(crate) fn versioned(mut self) -> Value {
        if let Some(fields) = self.source.as_object_mut() {
            fields.insert("_version".to_owned(), self.version.into());
        }
        self.source
    }
}

fn held(mut document: Value) -> Option<(String, Held)> {
    let id = document.get("_id")?.as_str()?.to_owned();
    let version = document.get("_version")?.as_i64()?;
    let source = document.get_mut("_source")?.take();
    Some((id, Held { version, source }))
}

/// A document's fields.
pub(crate) fn body(document: &Document) -> Value {
    serde_json::from_str(&document.body).unwrap_or_default()
}
