//! Commands and events with their fields.

use millrace_schemas::{DEFINITIONS, Definition, Kind};
use serde_json::Value;

/// Every command or event of a context, or what becomes of commands that it refuses.
pub(super) fn section(context: &str, kind: Kind) -> String {
    let (title, topic) = match kind {
        Kind::Command => ("Commands", "cmd"),
        Kind::Event => ("Events", "evt"),
        Kind::Rejection => ("Rejections", "rej"),
    };
    // The record of a rejection is the same in every context.
    let of = |record: &&Definition| record.context == context || kind == Kind::Rejection;
    let records = DEFINITIONS.iter().filter(|record| record.kind == kind).filter(of);
    let records: String = records.map(record).collect();
    format!("## {title}\n\nTopic `millrace.{topic}.{context}.v1`.\n{records}")
}

fn record(definition: &Definition) -> String {
    let Definition { name, full_name, key, avsc, .. } = definition;
    let schema: Value = serde_json::from_str(avsc).expect("a schema is JSON");
    let doc = text(&schema["doc"]);
    let fields: String = fields("", &schema).iter().map(row).collect();
    format!(
        "\n### `{name}`\n\n{doc} `{full_name}`, keyed by `{key}`.\n\n| field | type | default | |\n|---|---|---|---|\n{fields}"
    )
}

/// A field, with the path to it.
struct Field {
    path: String,
    kind: String,
    default: Option<Value>,
    doc: String,
}

fn row(Field { path, kind, default, doc }: &Field) -> String {
    let default = default.as_ref().map(|value| format!("`{value}` ")).unwrap_or_default();
    format!("| `{path}` | {kind} | {default}| {doc} |\n")
}

/// The fields of a record, each followed by those within it.
fn fields(prefix: &str, record: &Value) -> Vec<Field> {
    let fields = record["fields"].as_array().expect("fields").iter();
    let fields = fields.flat_map(|field| {
        let path = format!("{prefix}{}", text(&field["name"]));
        let within = within(&path, &field["type"]);
        let (kind, default) = (kind(&field["type"]), field.get("default").cloned());
        let doc = text(&field["doc"]).replace('|', "\\|");
        std::iter::once(Field { path, kind, default, doc }).chain(within)
    });
    fields.collect()
}

fn within(path: &str, kind: &Value) -> Vec<Field> {
    match (kind, kind["type"].as_str()) {
        (Value::Array(branches), _) => branches.iter().flat_map(|branch| within(path, branch)).collect(),
        (_, Some("record")) => fields(&format!("{path}."), kind),
        (_, Some("array")) => within(&format!("{path}[]"), &kind["items"]),
        (_, Some("map")) => within(&format!("{path}.*"), &kind["values"]),
        _ => Vec::new(),
    }
}

/// A type in words.
fn kind(kind: &Value) -> String {
    match kind {
        Value::String(name) => name.clone(),
        Value::Array(branches) => {
            let (null, others): (Vec<&Value>, Vec<&Value>) = branches.iter().partition(|b| *b == "null");
            others.into_iter().chain(null).map(self::kind).collect::<Vec<_>>().join(" or ")
        }
        _ => complex(kind),
    }
}

fn complex(kind: &Value) -> String {
    let name = || format!("`{}`", text(&kind["name"]));
    match (kind["logicalType"].as_str(), text(&kind["type"])) {
        (Some(logical), _) => logical.to_owned(),
        (None, "array") => format!("list of {}", self::kind(&kind["items"])),
        (None, "map") => format!("map of {}", self::kind(&kind["values"])),
        (None, "record" | "fixed") => name(),
        (None, "enum") => {
            let symbols = kind["symbols"].as_array().expect("symbols").iter().map(text);
            format!("{}: {}", name(), symbols.collect::<Vec<_>>().join(", "))
        }
        (None, simple) => simple.to_owned(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}
