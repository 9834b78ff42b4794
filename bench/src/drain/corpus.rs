//! The documents of an index.

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::instance::Instance;

const PAGE: usize = 5_000;

/// Every document of an index.
pub(crate) struct Corpus(pub(crate) Vec<Document>);

/// A document as it was written.
pub(crate) struct Document {
    pub(crate) id: String,
    pub(crate) version: u64,
    pub(crate) body: String,
}

#[derive(serde::Deserialize)]
struct Hit {
    _id: String,
    _version: u64,
    _source: Box<RawValue>,
}

impl Corpus {
    /// Fails unless another holds the same documents, in whatever order.
    pub(crate) fn is_equal_to(&self, other: &Self) -> Result<()> {
        ensure!(self.sorted() == other.sorted(), "two runs have left different documents");
        Ok(())
    }

    fn sorted(&self) -> Vec<(&str, u64, &str)> {
        let documents = self.0.iter().map(|document| (&*document.id, document.version, &*document.body));
        let mut sorted: Vec<_> = documents.collect();
        sorted.sort_unstable();
        sorted
    }

    /// Reads what can be searched in an index.
    pub(crate) async fn read(instance: &Instance, index: &str) -> Result<Self> {
        let question = json!({"size": PAGE, "sort": ["_doc"], "version": true});
        let path = format!("{index}/_search?scroll=1m");
        let mut page = instance.stack.elasticsearch(Method::POST, &path, Some(&question)).await?;
        let mut documents = Vec::new();
        loop {
            let hits = hits(&page)?;
            if hits.is_empty() {
                return Ok(Self(documents));
            }
            documents.extend(hits);
            let next = json!({"scroll": "1m", "scroll_id": page.get("_scroll_id").context("no scroll_id")?});
            page = instance.stack.elasticsearch(Method::POST, "_search/scroll", Some(&next)).await?;
        }
    }
}

fn hits(page: &Value) -> Result<Vec<Document>> {
    let hits = page.pointer("/hits/hits").context("no hits")?.to_string();
    let hits: Vec<Hit> = serde_json::from_str(&hits)?;
    let document =
        |hit: Hit| Document { id: hit._id, version: hit._version, body: hit._source.get().to_owned() };
    Ok(hits.into_iter().map(document).collect())
}
