//! Commands and events with their fields.

use millrace_schemas::{DEFINITIONS, Definition, Field, Kind, described, example};
use serde_json::Value;

use crate::senders;

/// Every command or event of a context, or what becomes of commands that it refuses.
pub(super) fn section(context: &str, kind: Kind) -> String {
    let (title, topic) = match kind {
        Kind::Command => ("Commands", "cmd"),
        Kind::Event => ("Events", "evt"),
        Kind::Rejection => ("Rejections", "rej"),
        Kind::Outcome => ("Outcomes", "out"),
    };
    // The records of rejections and outcomes are the same in every context.
    let of = |record: &&Definition| record.context == context || record.context.is_empty();
    let records = DEFINITIONS.iter().filter(|record| record.kind == kind).filter(of);
    let records: String = records.map(record).collect();
    format!("## {title}\n\nTopic `millrace.{topic}.{context}.v1`.\n{records}")
}

fn record(definition: &Definition) -> String {
    let Definition { name, full_name, key, .. } = definition;
    let (doc, fields) = described(definition);
    let fields: String = fields.iter().map(row).collect();
    let example = example(definition).map(shown).unwrap_or_default();
    let sent_by = senders::sentence(name);
    format!(
        "\n### `{name}`\n\n{doc} `{full_name}`, keyed by `{key}`.{sent_by}\n\n| field | type | default | |\n|---|---|---|---|\n{fields}{example}"
    )
}

fn row(Field { path, kind, default, doc }: &Field) -> String {
    let default = default.as_ref().map(|value| format!("`{value}` ")).unwrap_or_default();
    format!("| `{path}` | {kind} | {default}| {} |\n", doc.replace('|', "\\|"))
}

/// The data of an example.
fn shown(example: &str) -> String {
    let command: Value = serde_json::from_str(example).expect("an example is JSON");
    format!("\n```json\n{:#}\n```\n", command["data"])
}
