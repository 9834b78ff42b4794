//! The fields of a record type, for people: with the path to each, its type in words, its default and its meaning.

use serde::Serialize;
use serde_json::Value;

use crate::Definition;

/// A field of a record type.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Field {
    /// The path to it, such as `lines[].quantity`.
    pub path: String,
    /// Its type in words.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is when it is not given; without a default it must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// What it means.
    pub doc: String,
}

/// What a record type is, and its fields, each followed by those within it.
pub fn described(definition: &Definition) -> (String, Vec<Field>) {
    let schema: Value = serde_json::from_str(definition.avsc).unwrap_or_default();
    (text(&schema, "doc").to_owned(), fields("", &schema))
}

fn fields(prefix: &str, record: &Value) -> Vec<Field> {
    let fields = record.get("fields").and_then(Value::as_array).into_iter().flatten();
    let fields = fields.flat_map(|field| {
        let path = format!("{prefix}{}", text(field, "name"));
        let (type_, default) = (field.get("type").unwrap_or(&Value::Null), field.get("default").cloned());
        let (kind, doc, within) = (kind(type_), text(field, "doc").to_owned(), within(&path, type_));
        std::iter::once(Field { path, kind, default, doc }).chain(within)
    });
    fields.collect()
}

fn within(path: &str, kind: &Value) -> Vec<Field> {
    let of = |name: &str| kind.get(name).unwrap_or(&Value::Null);
    match (kind, text(kind, "type")) {
        (Value::Array(branches), _) => branches.iter().flat_map(|branch| within(path, branch)).collect(),
        (_, "record") => fields(&format!("{path}."), kind),
        (_, "array") => within(&format!("{path}[]"), of("items")),
        (_, "map") => within(&format!("{path}.*"), of("values")),
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
    let name = || format!("`{}`", text(kind, "name"));
    let inner = |name: &str| kind.get(name).map(self::kind).unwrap_or_default();
    match (kind.get("logicalType").and_then(Value::as_str), text(kind, "type")) {
        (Some(logical), _) => logical.to_owned(),
        (None, "array") => format!("list of {}", inner("items")),
        (None, "map") => format!("map of {}", inner("values")),
        (None, "record" | "fixed") => name(),
        (None, "enum") => {
            let symbols = kind.get("symbols").and_then(Value::as_array).into_iter().flatten();
            let symbols: Vec<&str> = symbols.filter_map(Value::as_str).collect();
            format!("{}: {}", name(), symbols.join(", "))
        }
        (None, simple) => simple.to_owned(),
    }
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition;

    #[test]
    fn fields_within_lists_follow_their_list() {
        let (doc, fields) = described(definition("PlaceOrder").expect("PlaceOrder"));
        assert_eq!(doc, "Places an order. The customer and every product must exist.");
        let at = |path: &str| fields.iter().position(|field| field.path == path).expect(path);
        assert!(at("lines") < at("lines[].quantity") && at("lines[].quantity") < at("total"));
        let discount = &fields[at("lines[].discount_bp")];
        assert_eq!((discount.kind.as_str(), &discount.default), ("int", &Some(Value::from(0))));
        assert_eq!(fields[at("placed_at")].kind, "timestamp-micros");
    }
}
