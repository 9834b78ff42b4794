//! The OpenAPI 3.1 document of an instance, made from the Avro schemas, the refusals of the contexts and the table of queries.

mod avro;
mod commands;
mod queries;
#[cfg(test)]
mod tests;

use millrace_ops::config::Config;
use serde_json::{Map, Value as Json, json};

use crate::asyncapi;
use crate::problem::Kind;

/// Where it is served.
pub(crate) const PATH: &str = "/v1/openapi.json";

/// The document of an instance.
pub(crate) fn document(config: &Config) -> Json {
    let mut paths = Map::new();
    paths.extend(commands::paths(config));
    if config.gateway.reader_url.is_some() {
        paths.extend(queries::paths(config));
    }
    paths.insert(PATH.to_owned(), json!({"get": contract("openapi", "This document.")}));
    paths.insert(
        asyncapi::PATH.to_owned(),
        json!({"get": contract("asyncapi", "The topics, as AsyncAPI 3.0.")}),
    );
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Millrace", "version": env!("CARGO_PKG_VERSION"),
            "description": "Commands, receipts and queries. Money is in minor units with an ISO 4217 currency, times are UTC.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Problem": problem(), "Receipt": commands::receipt()},
        },
    })
}

fn contract(name: &str, summary: &str) -> Json {
    let document =
        json!({"description": summary, "content": {"application/json": {"schema": {"type": "object"}}}});
    json!({"operationId": name, "summary": summary, "responses": responses([("200", document)], &[])})
}

/// The problem that every refusal is (RFC 9457).
fn problem() -> Json {
    let text = || json!({"type": "string"});
    let error = json!({
        "type": "object", "required": ["path", "message"], "properties": {"path": text(), "message": text()},
    });
    json!({
        "type": "object", "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": text(), "title": text(), "status": {"type": "integer"}, "detail": text(),
            "code": {"type": ["string", "null"]}, "errors": {"type": "array", "items": error},
            "receipt": {"$ref": "#/components/schemas/Receipt"}, "version": {"type": "integer"},
        },
    })
}

/// The responses of an operation: its own, and by status its refusals and those of every request.
fn responses<const N: usize>(own: [(&str, Json); N], problems: &[Kind]) -> Json {
    let problems = [problems, &Kind::OF_EVERY_REQUEST].concat();
    let mut responses: Map<String, Json> =
        own.into_iter().map(|(status, response)| (status.to_owned(), response)).collect();
    for kind in &problems {
        let status = kind.status().to_string();
        let types = problems.iter().filter(|other| other.status() == kind.status()).map(|kind| kind.type_());
        let types: Vec<String> = types.collect();
        responses.entry(status).or_insert_with(|| refused(&types));
    }
    responses.into()
}

fn refused(types: &[String]) -> Json {
    let schema = json!({
        "allOf": [{"$ref": "#/components/schemas/Problem"}, {"properties": {"type": {"enum": types}}}],
    });
    json!({
        "description": types.join(", "),
        "content": {"application/problem+json": {"schema": schema}},
    })
}

/// A parameter that is not of the query string.
fn parameter(place: &str, name: &str, required: bool, (schema, description): (Json, &str)) -> Json {
    json!({"in": place, "name": name, "required": required, "schema": schema, "description": description})
}
