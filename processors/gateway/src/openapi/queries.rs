//! Queries.

use std::collections::BTreeSet;

use millrace_domain::dictionary;
use millrace_ops::config::Config;
use millrace_ops::layout::{self, ReadModel};
use serde_json::{Map, Value as Json, json};

use super::{parameter, responses};
use crate::problem::Kind;
use crate::queries::parameter::Kind as Type;
use crate::queries::route::{Route, Rows, Shape, Source};
use crate::queries::table::{PREVIEW, ROUTES};

const UNANSWERED: &[Kind] = &[
    Kind::PARAMETERS,
    Kind::UNKNOWN_RESOURCE,
    Kind::VERSION,
    Kind::QUERIES,
    Kind::SEARCHES,
    Kind::SLOW_QUERY,
    Kind::FORBIDDEN,
    Kind::RULES,
];
const NO_PREVIEW: &[Kind] = &[
    Kind::BODY,
    Kind::SLOW,
    Kind::TOO_LARGE,
    Kind::MEDIA_TYPE,
    Kind::PARAMETERS,
    Kind::RULES,
    Kind::QUERIES,
    Kind::SLOW_QUERY,
    Kind::FORBIDDEN,
];

/// A path for each query of which the instance has the views.
pub(super) fn paths(config: &Config) -> impl Iterator<Item = (String, Json)> {
    let models = layout::read_models(config);
    let has =
        |route: &&Route| route.views().iter().all(|view| models.iter().any(|model| model.name == *view));
    let mut paths: Vec<(String, Json)> = ROUTES
        .iter()
        .filter(has)
        .map(|route| (route.path.to_owned(), json!({"get": query(route, &models)})))
        .collect();
    if models.iter().any(|model| model.name == "customers") {
        paths.push((PREVIEW.to_owned(), json!({"post": preview()})));
    }
    paths.into_iter()
}

fn query(route: &Route, models: &[ReadModel]) -> Json {
    let mut parameters: Vec<Json> = Vec::new();
    parameters
        .extend(route.named().map(|name| parameter("path", name, true, (Type::Text.schema(), "Which one."))));
    parameters.extend(
        route
            .in_query()
            .iter()
            .map(|one| parameter("query", one.name, false, (one.kind.schema(), one.meaning))),
    );
    let text = || json!({"type": "string"});
    parameters.push(parameter(
        "header",
        "If-None-Match",
        false,
        (text(), "The `ETag` of an answer that the caller has."),
    ));
    parameters.extend(least_version(route, models));
    let found = json!({
        "description": route.summary,
        "headers": {"ETag": {"schema": text()}},
        "content": {"application/json": {"schema": answer(route, models)}},
    });
    let same = json!({"description": "The caller has it."});
    json!({
        "operationId": operation(route.path), "summary": route.summary, "tags": [route.subject.as_str()],
        "parameters": parameters, "responses": responses([("200", found), ("304", same)], UNANSWERED),
    })
}

/// The header that waits for a version of a stream that the views of the route fold.
fn least_version(route: &Route, models: &[ReadModel]) -> Option<Json> {
    if matches!(route.source, Source::Documents(_)) {
        return None;
    }
    let of_route = models.iter().filter(|model| route.views().contains(&model.name));
    let contexts: BTreeSet<&str> = of_route.flat_map(|model| &model.contexts).copied().collect();
    let contexts: Vec<&str> = contexts.into_iter().collect();
    let pattern = format!("^({})/.+:[1-9][0-9]{{0,17}}$", contexts.join("|"));
    let meaning = "Wait until the views have this version of a stream: `customers/ann:3`.";
    Some(parameter("header", "Min-Version", false, (json!({"type": "string", "pattern": pattern}), meaning)))
}

/// A name from the path: `customers.customer_id.orders`.
fn operation(path: &str) -> String {
    let steps = path.split('/').filter(|step| !["", "v1"].contains(step));
    steps.map(|step| step.trim_matches(['{', '}'])).collect::<Vec<_>>().join(".")
}

fn preview() -> Json {
    let limit = crate::queries::route::LIMIT.kind.schema();
    let schema = json!({
        "type": "object", "required": ["rules"], "additionalProperties": false,
        "properties": {"rules": {"type": "object"}, "channel": {"enum": ["email", "sms"], "default": "email"}, "limit": limit},
    });
    let found = json!({
        "description": "The number of customers, and the first of them.",
        "content": {"application/json": {"schema": answers(json!({"type": "object"}), [("audience", json!({"type": "integer"}))])}},
    });
    json!({
        "operationId": "preview", "summary": "How many customers rules take now, and the first of them.", "tags": ["campaigns"],
        "requestBody": {"required": true, "content": {"application/json": {"schema": schema}}},
        "responses": responses([("200", found)], NO_PREVIEW),
    })
}

fn answer(route: &Route, models: &[ReadModel]) -> Json {
    let count = || json!({"type": "integer"});
    match &route.source {
        Source::Rows(rows) => {
            let (item, version) = (item(rows, models), json!({"type": ["integer", "null"]}));
            match rows.shape {
                Shape::One => json!({
                    "type": "object", "required": ["as_of", "item"], "properties": {"as_of": time(), "version": version, "item": item},
                }),
                Shape::List(_) => answers(item, [("version", version)]),
            }
        }
        Source::Documents(_) => answers(
            json!({"type": "object"}),
            [("total", json!({"type": "object"})), ("facets", json!({"type": "object"}))],
        ),
        Source::Segment => answers(json!({"type": "object"}), [("audience", count())]),
    }
}

fn answers<const N: usize>(item: Json, more: [(&str, Json); N]) -> Json {
    let mut properties = json!({
        "as_of": time(), "items": {"type": "array", "items": item}, "next": {"type": ["string", "null"]},
    });
    if let Some(properties) = properties.as_object_mut() {
        properties.extend(more.map(|(name, schema)| (name.to_owned(), schema)));
    }
    json!({"type": "object", "required": ["as_of", "items", "next"], "properties": properties})
}

fn time() -> Json {
    json!({"type": "string", "format": "date-time"})
}

/// The columns of the SQL view, with their meaning; their types when they are columns of the read model's table.
fn item(rows: &Rows, models: &[ReadModel]) -> Json {
    let of = rows.views.first().copied().unwrap_or_default();
    let table = models.iter().find(|model| model.name == of).and_then(|model| model.table.as_ref());
    let columns = table.map_or(&[][..], |table| &table.columns);
    let sections = if rows.of == of { vec![of, ""] } else { vec![rows.of] };
    let mut properties = Map::new();
    for (column, meaning) in sections.into_iter().flat_map(dictionary::columns) {
        let known = columns.iter().find(|(name, _)| name == column).filter(|_| rows.of == of);
        let mut property = known.map_or_else(|| json!({}), |(_, sql)| of_column(sql));
        if let Some(property) = property.as_object_mut() {
            property.insert("description".to_owned(), meaning.into());
        }
        properties.insert(column.to_owned(), property);
    }
    json!({"type": "object", "properties": properties})
}

/// The JSON of a column's type; any may be null.
fn of_column(sql: &str) -> Json {
    match sql {
        "bigint" | "int" | "integer" => json!({"type": ["integer", "null"]}),
        "boolean" => json!({"type": ["boolean", "null"]}),
        "timestamptz" => json!({"type": ["string", "null"], "format": "date-time"}),
        "date" => json!({"type": ["string", "null"], "format": "date"}),
        "text" => json!({"type": ["string", "null"]}),
        _ => json!({}),
    }
}
