//! Commands and receipts.

use millrace_domain::registry;
use millrace_ops::config::Config;
use millrace_ops::contract;
use millrace_schemas::Definition;
use serde_json::{Value as Json, json};

use super::{avro, parameter, responses};
use crate::headers::NDJSON;
use crate::problem::Kind;
use crate::routes::batch::{LINES_MAX, PATH};

const UNSENT: &[Kind] = &[
    Kind::BODY,
    Kind::KEY,
    Kind::SLOW,
    Kind::REJECTED,
    Kind::TOO_LARGE,
    Kind::MEDIA_TYPE,
    Kind::FIELDS,
    Kind::KEY_REUSED,
    Kind::PARAMETERS,
    Kind::REFERENCE,
    Kind::RECEIPTS,
    Kind::DEAD,
    Kind::KAFKA,
    Kind::FORBIDDEN,
];
const UNSENT_BATCH: &[Kind] =
    &[Kind::BODY, Kind::KEY, Kind::PARAMETERS, Kind::SLOW, Kind::TOO_LARGE, Kind::MEDIA_TYPE, Kind::KAFKA];
const NO_RECEIPT: &[Kind] = &[Kind::PARAMETERS, Kind::UNKNOWN_RECEIPT, Kind::RECEIPTS];

/// A path for each command of the instance, and those of receipts.
pub(super) fn paths(config: &Config) -> impl Iterator<Item = (String, Json)> {
    let commands = contract::commands(config).map(|definition| {
        (format!("/v1/commands/{}", definition.name), json!({"post": command(definition)}))
    });
    commands.chain([(PATH.to_owned(), json!({"post": batch()}))]).chain(receipts())
}

/// Lines of JSON, which have schemas of their own.
fn batch() -> Json {
    let text = |meaning: &str| json!({"type": "string", "description": meaning});
    let lines = |schema: Json| json!({NDJSON: {"schema": {"type": "string"}, "x-line": schema}});
    let line = json!({
        "type": "object", "required": ["type", "data"], "additionalProperties": false,
        "properties": {
            "type": text("The short or full name of the command."), "id": text("Its id; else the batch has an Idempotency-Key."),
            "data": {"type": "object", "description": "Its fields."}, "source": text("The client's name."),
            "time": {"type": "string", "format": "date-time"}, "traceparent": text("A W3C trace context."),
            "correlationid": text("The id of the conversation."),
            "specversion": text("`1.0`."), "datacontenttype": text("`application/json`."),
        },
    });
    let outcome = json!({
        "type": "object", "required": ["line", "status"],
        "properties": {
            "line": {"type": "integer"}, "id": {"type": "string"}, "status": {"type": "integer"},
            "location": text("The path of its receipt."), "receipt": {"$ref": "#/components/schemas/Receipt"},
            "problem": {"$ref": "#/components/schemas/Problem"},
        },
    });
    json!({
        "operationId": "batch", "tags": ["receipts"],
        "summary": format!("Sends a command of each line, {LINES_MAX} at most, and answers each line."),
        "parameters": [key(), prefer()],
        "requestBody": {"required": true, "content": lines(line)},
        "responses": responses(
            [("200", json!({"description": "An outcome for each line, in their order.", "content": lines(outcome)}))],
            UNSENT_BATCH,
        ),
    })
}

/// A dry run needs none, and neither do lines with ids; else it is required.
fn key() -> Json {
    let schema = json!({"type": "string", "pattern": "^[!-~]+$", "maxLength": 512});
    let meaning = "The command's id: sent again it has one effect. Required, but for a dry run and for lines that have ids.";
    parameter("header", "Idempotency-Key", false, (schema, meaning))
}

fn dry_run() -> Json {
    let meaning = "Tell what would become of the command, without effect.";
    parameter("query", "dry_run", false, (json!({"type": "boolean"}), meaning))
}

/// The events that a dry run finds.
fn events() -> Json {
    let event = json!({
        "type": "object", "required": ["type", "stream", "version", "data"],
        "properties": {
            "type": {"type": "string"}, "stream": {"type": "string"}, "version": {"type": "integer"}, "data": {"type": "object"},
        },
    });
    json!({
        "type": "object", "required": ["type", "dry_run", "events"],
        "properties": {"type": {"type": "string"}, "dry_run": {"const": true}, "events": {"type": "array", "items": event}},
    })
}

fn prefer() -> Json {
    let schema = json!({"type": "string", "pattern": "^wait=[1-9][0-9]{0,3}$"});
    parameter("header", "Prefer", false, (schema, "How many seconds to wait for the outcome: `wait=5`."))
}

fn command(definition: &Definition) -> Json {
    let schema = avro::schema(definition.avsc).unwrap_or_default();
    let shown = |description: &str| {
        json!({
            "description": description,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Receipt"}}},
        })
    };
    let completed = || {
        let either = json!({"anyOf": [{"$ref": "#/components/schemas/Receipt"}, events()]});
        json!({
            "description": "It is completed, or what a dry run finds.",
            "content": {"application/json": {"schema": either}},
        })
    };
    let refusals: Vec<Json> = registry::refusals(definition.context)
        .iter()
        .map(|refusal| json!({"code": refusal.code, "when": refusal.when}))
        .collect();
    json!({
        "operationId": definition.name,
        "summary": schema.get("description"),
        "tags": [definition.context],
        "parameters": [key(), prefer(), dry_run()],
        "requestBody": {"required": true, "content": {"application/json": {"schema": schema}}},
        "responses": responses([("200", completed()), ("202", shown("Kafka has it."))], UNSENT),
        "x-refusals": refusals,
    })
}

fn receipts() -> [(String, Json); 2] {
    let shown = || {
        json!({
            "description": "The receipt.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Receipt"}}},
        })
    };
    let text = || json!({"type": "string", "minLength": 1});
    let (id, source) = (
        parameter("path", "id", true, (text(), "The command's id.")),
        parameter("path", "source", true, (text(), "The command's source: the caller's name.")),
    );
    let seconds = json!({"type": "integer", "minimum": 1, "maximum": 9_999});
    let wait = parameter("query", "wait", false, (seconds, "How many seconds to wait for the outcome."));
    let get = |name: &str, parameters: Vec<&Json>| {
        json!({"get": {
            "operationId": name, "summary": "What became of a command of the caller.", "tags": ["receipts"],
            "parameters": parameters, "responses": responses([("200", shown())], NO_RECEIPT),
        }})
    };
    [
        ("/v1/receipts/{id}".to_owned(), get("receipt", vec![&id, &wait])),
        ("/v1/receipts/{source}/{id}".to_owned(), get("receiptOfSource", vec![&source, &id, &wait])),
    ]
}

/// What became of a command.
pub(super) fn receipt() -> Json {
    let (text, time, count) = (
        json!({"type": "string"}),
        json!({"type": "string", "format": "date-time"}),
        json!({"type": "integer"}),
    );
    json!({
        "type": "object", "required": ["id", "source", "type", "status"],
        "properties": {
            "id": text, "source": text, "type": text, "stream": text, "code": text, "message": text, "behind": text,
            "status": {"enum": ["pending", "retrying", "waiting", "completed", "rejected", "dead"]},
            "versions": {"type": "object", "additionalProperties": {"type": "integer"}},
            "produced_at": time, "received_at": time, "decided_at": time, "next_try_at": time,
            "attempts": count, "attempts_max": count,
        },
    })
}
