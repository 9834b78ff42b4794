//! The figures as documents, for the dashboard of operators in Kibana: one for each figure, which the next round replaces, so that
//! there are never more than figures. Their course over time is Prometheus's.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use elasticsearch::{BulkParts, DeleteByQueryParts};
use serde_json::{Map, Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use super::family::Figure;
use crate::config::Config;
use crate::elastic::Client;
use crate::failure::{Failure, Service};
use crate::http::reason;
use crate::reached::{ANSWER_WITHIN, Kept};

/// Names the index, as a view's name does.
pub(crate) const OPERATIONS: &str = "operations";
/// Its fields.
pub(crate) const MAPPING: &str = include_str!("operations.json");

/// Writes the figures at intervals.
#[derive(Default)]
pub(super) struct Documents {
    elastic: Kept<Client>,
    written: Option<Instant>,
}

impl Documents {
    /// Writes them when it is time. An Elasticsearch that is away delays a round by two seconds at most, and other
    /// metrics show it.
    pub(super) async fn write(&mut self, config: &Config, figures: &[Figure]) {
        let Some(every) = config.metrics.documents() else { return };
        if self.written.is_some_and(|written| written.elapsed() < every) {
            return;
        }
        self.written = Some(Instant::now());
        let replaced = timeout(ANSWER_WITHIN, self.replace(config, figures)).await;
        let silent =
            |_| Err(Failure::unreachable(Service::Elasticsearch, &config.elasticsearch.url, "it is slow"));
        if let Err(error) = replaced.unwrap_or_else(silent) {
            tracing::debug!(%error, "the figures of the namespace are not in Elasticsearch");
        }
    }

    async fn replace(&mut self, config: &Config, figures: &[Figure]) -> Result<(), Failure> {
        let client = self.elastic.or_made(|| Client::new(&config.elasticsearch))?;
        let now = Utc::now();
        let alias = config.namespace.index_alias(OPERATIONS);
        let (alias, body) = (alias.as_str(), &lines(figures, now));
        // Without its alias there would be another index, with other fields.
        let sent = client.send(|client| async move {
            client.bulk(BulkParts::Index(alias)).require_alias(true).body(vec![body.clone()]).send().await
        });
        all_taken(&sent.await?.success()?)?;
        let before = &json!({"query": {"range": {"at": {"lt": now.to_rfc3339()}}}});
        let index = [alias];
        // What was written just now is not searched yet: its older version conflicts, and stays.
        let removed = client.send(|client| async move {
            let request = client.delete_by_query(DeleteByQueryParts::Index(&index));
            request.conflicts(elasticsearch::params::Conflicts::Proceed).body(before).send().await
        });
        removed.await?.success().map(drop)
    }
}

/// A bulk request is answered with success even when documents are refused; then their older versions stay.
fn all_taken(answer: &Value) -> Result<(), Failure> {
    if answer["errors"] == false {
        return Ok(());
    }
    let items = answer["items"].as_array().into_iter().flatten().map(|item| &item["index"]);
    let refused: Vec<&Value> = items.filter(|item| item.get("error").is_some()).collect();
    let why = refused.first().map_or_else(|| reason(answer), |first| reason(first));
    Err(Failure::refused(format!("Elasticsearch refuses documents ({}): {why}", refused.len())))
}

/// The body of a bulk request.
fn lines(figures: &[Figure], at: DateTime<Utc>) -> String {
    let lines = figures.iter().flat_map(|figure| {
        [json!({"index": {"_id": id(figure)}}).to_string(), document(figure, at).to_string()]
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Of the same figure it is the same in each round. Names may be longer than an id.
fn id(figure: &Figure) -> String {
    let named = json!([figure.family.name, figure.labels]).to_string();
    Uuid::new_v5(&Uuid::NAMESPACE_OID, named.as_bytes()).to_string()
}

fn document(figure: &Figure, at: DateTime<Utc>) -> Value {
    let labels = figure.family.labels.iter().zip(&figure.labels);
    let mut document: Map<String, Value> =
        labels.map(|(label, value)| ((*label).to_owned(), Value::from(value.as_str()))).collect();
    document.insert("at".to_owned(), at.to_rfc3339().into());
    document.insert("metric".to_owned(), figure.family.name.trim_start_matches("millrace_").into());
    document.insert("value".to_owned(), figure.value.into());
    document.extend(time(figure).map(|time| ("time".to_owned(), time.to_rfc3339().into())));
    Value::Object(document)
}

/// Of a figure that is a moment.
fn time(figure: &Figure) -> Option<DateTime<Utc>> {
    let is_time = figure.family.name.ends_with("_timestamp_seconds");
    let since = TimeDelta::try_milliseconds(milliseconds(figure.value))?;
    is_time.then(|| DateTime::UNIX_EPOCH.checked_add_signed(since)).flatten()
}

#[allow(clippy::cast_possible_truncation, reason = "a number that is too large becomes the largest one")]
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1e3) as i64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::family::{self, ALL};
    use super::*;

    #[test]
    fn the_mapping_has_every_label_and_no_other() {
        let mapping: Map<String, Value> = serde_json::from_str(MAPPING).unwrap();
        let labels = ALL.iter().flat_map(|family| family.labels.iter().copied());
        let fields: BTreeSet<&str> = labels.chain(["at", "metric", "value", "time"]).collect();
        assert_eq!(mapping.keys().map(String::as_str).collect::<BTreeSet<_>>(), fields);
    }

    #[test]
    fn a_figure_has_its_labels_and_the_same_id_in_each_round() {
        let (lag, at) = (family::LAG_SECONDS.is(["m.orders", "t"], 2.5), DateTime::UNIX_EPOCH);
        let fields = json!({"at": "1970-01-01T00:00:00+00:00", "metric": "lag_seconds", "value": 2.5, "group": "m.orders", "topic": "t"});
        assert_eq!(document(&lag, at), fields);
        let later = family::LAG_SECONDS.is(["m.orders", "t"], 7.0);
        assert_eq!(id(&lag), id(&later));
        assert_ne!(id(&lag), id(&family::LAG_RECORDS.is(["m.orders", "t"], 2.5)));
        assert_ne!(id(&lag), id(&family::LAG_SECONDS.is(["m.orders", "u"], 2.5)));
    }

    #[test]
    fn documents_that_are_refused_are_a_failure_although_the_request_succeeds() {
        let refused = json!({"status": 400, "error": {"reason": "no such field", "type": "strict"}});
        let taken = json!({"status": 200, "result": "updated"});
        let answer = |second: &Value| {
            let errors = second.get("error").is_some();
            json!({"took": 3, "errors": errors, "items": [{"index": taken}, {"index": second}]})
        };
        assert!(all_taken(&answer(&taken)).is_ok());
        let failure = all_taken(&answer(&refused)).unwrap_err().to_string();
        assert!(failure.contains("refuses documents (1): no such field"), "{failure}");
        assert!(all_taken(&json!("no answer of a bulk request")).is_err());
    }

    #[test]
    fn a_moment_is_a_date() {
        let verified = family::VERIFIED.is(["orders"], 86_400.0);
        assert_eq!(document(&verified, Utc::now())["time"], "1970-01-02T00:00:00+00:00");
        assert_eq!(document(&family::VERIFIED.is(["orders"], f64::MAX), Utc::now()).get("time"), None);
    }
}
