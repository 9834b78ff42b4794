//! A snapshot of the results of a load, as text: rows, documents with their versions, events, receipts and states.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

use crate::instance::Instance;
use crate::stack::stack;

const DIFFERENCES_SHOWN: usize = 5;

/// Lines in order, by what they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(pub BTreeMap<String, Vec<String>>);

/// Without outcomes, which have the time of the decision and the place of the command. Inventory's versions follow the order in which reservations of different keys arrive, which nothing fixes: that
/// they count 1, 2, 3 … is asserted instead of their place.
const WRITTEN: [(&str, &str); 3] = [
    (
        "outbox",
        "SELECT row_to_json(t)::text FROM (
             SELECT id, aggregatetype, aggregateid, type, encode(payload, 'hex') AS payload,
                    replace(topic, current_schema() || '.', '') AS topic,
                    CASE WHEN aggregatetype <> 'inventory' THEN version END AS version,
                    traceparent, correlation_id, causation_id, command_id, occurred_at
             FROM outbox WHERE topic NOT LIKE '%.out.%') AS t ORDER BY 1",
    ),
    (
        "command",
        "SELECT row_to_json(t)::text FROM (
             SELECT id, source, encode(fingerprint, 'hex') AS fingerprint, type, context, stream, status, code, message,
                    CASE WHEN context <> 'inventory' THEN versions END AS versions
             FROM command) AS t ORDER BY 1",
    ),
    (
        "stream",
        "SELECT row_to_json(t)::text FROM (
             SELECT context, id, version, state_version, state::text AS state FROM stream) AS t ORDER BY 1",
    ),
];

/// The auditor's own generation is 0.
const FOLDED: &str = "SELECT row_to_json(t)::text FROM (
    SELECT split_part(grp, '.', 2) AS view, generation, context, stream, version FROM progress
    WHERE generation > 0) AS t ORDER BY 1";

impl Snapshot {
    /// Asserts that nothing differs, and shows the first lines that do.
    ///
    /// # Panics
    /// When something differs.
    pub fn assert_same(&self, expected: &Self) {
        let parts: Vec<&String> = expected.0.keys().collect();
        assert_eq!(self.0.keys().collect::<Vec<_>>(), parts, "what there is");
        let differences: Vec<String> =
            parts.iter().filter_map(|part| self.difference(expected, part)).collect();
        assert!(differences.is_empty(), "not as expected:\n{}", differences.join("\n"));
    }

    fn difference(&self, expected: &Self, part: &String) -> Option<String> {
        let (found, expected) = (&self.0[part], &expected.0[part]);
        let only = |these: &Vec<String>, others: &Vec<String>, mark: &str| {
            let missing = these.iter().filter(|line| others.binary_search(line).is_err());
            missing.take(DIFFERENCES_SHOWN).map(|line| format!("  {mark} {line}\n")).collect::<String>()
        };
        let lines = format!("{}{}", only(expected, found, "-"), only(found, expected, "+"));
        (found != expected)
            .then(|| format!("{part}: {} lines, expected {}\n{lines}", found.len(), expected.len()))
    }

    /// Only the parts whose name has this prefix, such as `postgres`.
    #[must_use]
    pub fn only(&self, beginnings: &[&str]) -> Self {
        let wanted = |part: &String| beginnings.iter().any(|beginning| part.starts_with(beginning));
        Self(
            self.0
                .iter()
                .filter(|(part, _)| wanted(part))
                .map(|(part, lines)| (part.clone(), lines.clone()))
                .collect(),
        )
    }
}

impl Instance {
    /// Takes a snapshot of an instance that has [settled](Instance::settle).
    pub async fn snapshot(&self) -> Snapshot {
        let mut parts = BTreeMap::new();
        for (part, sql) in WRITTEN {
            parts.insert(format!("written {part}"), lines(&self.write, sql.to_owned()).await);
        }
        parts.insert("folded progress".to_owned(), lines(&self.read, FOLDED.to_owned()).await);
        let views = self.views_set_up().await.expect("views");
        for view in views.iter().filter(|view| view.table) {
            parts.insert(format!("postgres {}", view.name), self.rows(view.name).await);
        }
        for view in views.iter().filter(|view| view.index) {
            parts.insert(format!("elasticsearch {}", view.name), self.documents(view.name).await);
        }
        self.assert_versions_count_without_gaps().await;
        Snapshot(parts)
    }

    /// Each stream's events have the versions 1, 2, 3 … up to the stream's.
    async fn assert_versions_count_without_gaps(&self) {
        let wrong: Vec<String> = sqlx::query_scalar(
            "SELECT context || '/' || s.id FROM stream AS s LEFT JOIN outbox AS o
                 ON o.aggregatetype = s.context AND o.aggregateid = s.id AND o.version IS NOT NULL
             GROUP BY s.context, s.id, s.version
             HAVING s.version <> count(o.version) OR s.version <> coalesce(max(o.version), 0)",
        )
        .fetch_all(&self.write)
        .await
        .expect("streams and their events");
        assert!(wrong.is_empty(), "streams whose events do not count from 1 to their version: {wrong:?}");
    }

    /// Asserts that a view has the same rows in Postgres and in Elasticsearch, compared by key, version and time.
    pub async fn assert_both_read_models_agree(&self) {
        for view in self.views().iter().filter(|view| view.index) {
            let Some(key) = view.key else { continue };
            let rows = self.rows(view.name).await.into_iter();
            let rows = rows.map(|row| comparable(serde_json::from_str(&row).expect("JSON")));
            let documents = self.documents(view.name).await.into_iter();
            let mut documents: HashMap<String, Value> = documents.map(by_id).collect();
            for row in rows {
                let id = row[key].as_str().unwrap_or_else(|| panic!("{}: no {key} in {row}", view.name));
                assert_eq!(documents.remove(id).as_ref(), Some(&row), "{}: document and row", view.name);
            }
            assert!(documents.is_empty(), "{}: documents without a row: {:?}", view.name, documents.keys());
        }
    }

    /// The number of the generation that serves a view.
    pub async fn serving(&self, view: &str) -> i32 {
        let serving = "SELECT generation FROM replay WHERE view = $1 AND state = 'serving'";
        sqlx::query_scalar(serving).bind(view).fetch_one(&self.read).await.expect("a serving generation")
    }

    /// Every row of the generation that serves a view, as text in order.
    async fn rows(&self, view: &str) -> Vec<String> {
        let generation = self.serving(view).await;
        let sql = format!("SELECT row_to_json(t)::text FROM \"{view}_g{generation}\" AS t ORDER BY 1");
        lines(&self.read, sql).await
    }

    /// Every document of a view with its id and version, as text in order.
    pub async fn documents(&self, view: &str) -> Vec<String> {
        let index = format!("{}-{view}", self.name);
        elastic(&format!("{index}/_refresh"), None).await;
        let all = json!({"size": 5_000, "version": true, "query": {"match_all": {}}});
        let mut page = elastic(&format!("{index}/_search?scroll=1m"), Some(all)).await;
        let mut documents = Vec::new();
        while let Some(hits) = page["hits"]["hits"].as_array().filter(|hits| !hits.is_empty()) {
            documents.extend(hits.iter().map(document));
            let next = json!({"scroll": "1m", "scroll_id": page["_scroll_id"]});
            page = elastic("_search/scroll", Some(next)).await;
        }
        documents.sort();
        documents
    }
}

fn document(hit: &Value) -> String {
    let (mut source, mut version) = (hit["_source"].clone(), hit["_version"].clone());
    if source["context"] == "inventory" {
        source["version"] = Value::Null;
        version = Value::Null;
    }
    json!({"_id": hit["_id"], "_version": version, "_source": source}).to_string()
}

/// A document that is comparable with a row, by its id.
fn by_id(document: String) -> (String, Value) {
    let mut document: Value = serde_json::from_str(&document).expect("JSON");
    (document["_id"].as_str().expect("an id").to_owned(), comparable(document["_source"].take()))
}

/// Postgres and serde write the same time in two ways, and fields in any order; only a document has the texts of its row a second
/// time, for searches.
fn comparable(mut row: Value) -> Value {
    row.as_object_mut().map(|fields| fields.remove("search"));
    for (_, value) in row.as_object_mut().into_iter().flatten() {
        if let Some(time) = value.as_str().and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok()) {
            *value = time.to_utc().to_rfc3339().into();
        }
    }
    row
}

async fn lines(pool: &PgPool, sql: String) -> Vec<String> {
    let mut lines: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await.expect("rows");
    lines.sort();
    lines
}

/// Queries Elasticsearch.
pub async fn elastic(path: &str, body: Option<Value>) -> Value {
    elastic_with(reqwest::Method::POST, path, body).await
}

/// As [`elastic`], with another method.
pub async fn elastic_with(method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
    stack().elasticsearch(method, path, body.as_ref()).await.expect("Elasticsearch")
}
