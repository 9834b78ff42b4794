//! Answers from Elasticsearch, through the name that always leads to the serving generation.

use chrono::Utc;
use elasticsearch::SearchParts;
use serde_json::{Map, Value as Json, json};

use super::route::Documents;
use super::rows::ANSWER_BYTES_MAX;
use super::search::Given;
use super::{Answer, Asked, Queries, Unanswered, cursor};

impl Queries {
    /// What a search finds.
    pub(super) async fn found(&self, documents: &Documents, asked: &Asked) -> Result<Answer, Unanswered> {
        let (as_of, limit) = (Utc::now(), asked.limit());
        let values = |name: &str| asked.value(name);
        let search = (documents.search)(&Given { values: &values, size: limit + 1, after: asked.after() });
        let found = self.search(documents.view, &search, asked).await?;
        let (mut items, mut sorted_by) = (Vec::new(), Vec::new());
        for hit in found.pointer("/hits/hits").and_then(Json::as_array).into_iter().flatten() {
            items.push(hit.get("_source").cloned().unwrap_or_default());
            sorted_by.push(hit.get("sort").and_then(Json::as_array).cloned().unwrap_or_default());
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = items.len() > limit;
        items.truncate(limit);
        let last = sorted_by.get(limit.saturating_sub(1)).filter(|_| has_more);
        let next = last.map(|values| cursor::behind(values));
        Ok(Answer { as_of, version: None, items, next, more: counts(&found) })
    }

    async fn search(&self, view: &str, search: &Json, asked: &Asked) -> Result<Json, Unanswered> {
        let alias = [self.namespace.index_alias(view)];
        let alias = alias.each_ref().map(String::as_str);
        let client = self.elastic.get();
        let request = client.search(SearchParts::Index(&alias)).allow_partial_search_results(false);
        let response = request.body(search).send().await.map_err(Unanswered::Search)?;
        let status = response.status_code().as_u16();
        if response.content_length().is_some_and(|length| length > ANSWER_BYTES_MAX as u64) {
            return Err(Unanswered::TooLarge);
        }
        let body = response.bytes().await.map_err(Unanswered::Search)?;
        match status {
            200 => serde_json::from_slice(&body).map_err(Unanswered::Unreadable),
            // The rest of the search is ours.
            400 if asked.after().is_some() => Err(Unanswered::OtherCursor),
            400 if asked.text("q").is_some() => Err(Unanswered::OtherText(reason(&body))),
            status => Err(Unanswered::Status(status)),
        }
    }
}

fn reason(body: &[u8]) -> String {
    let body: Json = serde_json::from_slice(body).unwrap_or_default();
    body.pointer("/error/root_cause/0/type").and_then(Json::as_str).unwrap_or_default().to_owned()
}

/// How many match, and how many of them have which value.
fn counts(found: &Json) -> Vec<(&'static str, Json)> {
    let total = found
        .pointer("/hits/total")
        .map(|total| json!({"value": total.get("value"), "relation": total.get("relation")}));
    let facets = found.get("aggregations").and_then(Json::as_object).map(|facets| {
        let facets = facets.iter().map(|(name, facet)| (name.clone(), buckets(facet)));
        Json::from(facets.collect::<Map<String, Json>>())
    });
    [("total", total), ("facets", facets)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

fn buckets(facet: &Json) -> Json {
    let buckets = facet.get("buckets").and_then(Json::as_array).into_iter().flatten();
    buckets.map(|bucket| json!({"value": bucket.get("key"), "count": bucket.get("doc_count")})).collect()
}
