//! The part of Kibana's query language that the shipped objects use.

use serde_json::{Value, json};

use super::text;

/// One condition: `field: value` or a comparison, as `field <= 0`, perhaps after `not`.
struct Condition {
    not: bool,
    field: String,
    operator: &'static str,
    value: String,
}

/// The query that Kibana sends to Elasticsearch.
pub(crate) fn query(query: &Value) -> Value {
    let conditions: Vec<Value> = conditions(query).iter().map(clause).collect();
    json!({"bool": {"filter": conditions}})
}

/// The fields that it uses.
pub(crate) fn fields(query: &Value) -> Vec<String> {
    conditions(query).into_iter().map(|condition| condition.field).collect()
}

fn conditions(query: &Value) -> Vec<Condition> {
    assert_eq!(query["language"], "kuery", "{query}");
    let words = text(&query["query"]);
    words.split(" and ").filter(|condition| !condition.is_empty()).map(condition).collect()
}

fn condition(words: &str) -> Condition {
    let (not, words) = words.strip_prefix("not ").map_or((false, words), |rest| (true, rest));
    let known = [(": ", "match"), (" > ", "gt"), (" <= ", "lte"), (" >= ", "gte"), (" < ", "lt")];
    let found = known.into_iter().find_map(|(sign, operator)| Some((words.split_once(sign)?, operator)));
    let ((field, value), operator) = found.unwrap_or_else(|| panic!("`{words}` is not known"));
    for part in [field, value] {
        let plain = part.chars().all(|c| c.is_ascii_alphanumeric() || "_.-/".contains(c));
        assert!(plain && !part.is_empty() && part != "or", "`{words}` is not known");
    }
    Condition { not, field: field.to_owned(), operator, value: value.to_owned() }
}

fn clause(Condition { not, field, operator, value }: &Condition) -> Value {
    let clause = match *operator {
        "match" => json!({"match": {field: value}}),
        // Kibana adds the browser's zone, here not that of the documents, to a range of dates.
        operator if value.starts_with("now") => {
            json!({"range": {field: {operator: value, "time_zone": "America/New_York"}}})
        }
        operator => json!({"range": {field: {operator: value}}}),
    };
    if *not { json!({"bool": {"must_not": clause}}) } else { clause }
}
