//! Commands and receipts.

use millrace_domain::registry;
use millrace_ops::config::Config;
use millrace_ops::contract;
use millrace_schemas::Definition;
use serde_json::{Value as Json, json};

use super::{avro, parameter, responses};
use crate::problem::Kind;

const UNSENT: &[Kind] = &[
    Kind::BODY,
    Kind::KEY,
    Kind::SLOW,
    Kind::REJECTED,
    Kind::TOO_LARGE,
    Kind::MEDIA_TYPE,
    Kind::FIELDS,
    Kind::KEY_REUSED,
    Kind::DEAD,
    Kind::KAFKA,
    Kind::FORBIDDEN,
];
const NO_RECEIPT: &[Kind] = &[Kind::UNKNOWN_RECEIPT, Kind::RECEIPTS];

/// A path for each command of the instance, and those of receipts.
pub(super) fn paths(config: &Config) -> impl Iterator<Item = (String, Json)> {
    let commands = contract::commands(config).map(|definition| {
        (format!("/v1/commands/{}", definition.name), json!({"post": command(definition)}))
    });
    commands.chain(receipts())
}

fn command(definition: &Definition) -> Json {
    let schema = avro::schema(definition.avsc).unwrap_or_default();
    let shown = |description: &str| {
        json!({
            "description": description,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Receipt"}}},
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
        "parameters": [
            parameter("header", "Idempotency-Key", true, (json!({"type": "string", "pattern": "^[!-~]+$", "maxLength": 512}), "The command's id: sent again it has one effect.")),
            parameter("header", "Prefer", false, (json!({"type": "string", "pattern": "^wait=[1-9][0-9]{0,3}$"}), "How many seconds to wait for the outcome: `wait=5`.")),
        ],
        "requestBody": {"required": true, "content": {"application/json": {"schema": schema}}},
        "responses": responses([("200", shown("It is completed.")), ("202", shown("Kafka has it."))], UNSENT),
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
    let get = |name: &str, parameters: Vec<&Json>| {
        json!({"get": {
            "operationId": name, "summary": "What became of a command of the caller.", "tags": ["receipts"],
            "parameters": parameters, "responses": responses([("200", shown())], NO_RECEIPT),
        }})
    };
    [
        ("/v1/receipts/{id}".to_owned(), get("receipt", vec![&id])),
        ("/v1/receipts/{source}/{id}".to_owned(), get("receiptOfSource", vec![&source, &id])),
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
