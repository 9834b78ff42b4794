//! The JSON that a record of an Avro schema is written as, as a JSON schema.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

/// The schema of a record type; `None` when it is not one.
pub(super) fn schema(avsc: &str) -> Option<Json> {
    let avro: Json = serde_json::from_str(avsc).ok()?;
    Some(Names::default().of(&avro))
}

/// Named types are inserted where they are named again.
#[derive(Default)]
struct Names(HashMap<String, Json>);

impl Names {
    fn of(&mut self, avro: &Json) -> Json {
        match avro {
            Json::String(name) => self.named(name),
            Json::Array(branches) => self.union(branches),
            _ => match (text(avro, "logicalType"), text(avro, "type")) {
                ("timestamp-micros", _) => json!({"type": "string", "format": "date-time"}),
                (_, "record") => self.record(avro),
                (_, "array") => json!({"type": "array", "items": self.inner(avro, "items")}),
                (_, "map") => json!({"type": "object", "additionalProperties": self.inner(avro, "values")}),
                (_, "enum") => json!({"type": "string", "enum": avro.get("symbols")}),
                (_, simple) => self.named(simple),
            },
        }
    }

    fn inner(&mut self, avro: &Json, name: &str) -> Json {
        avro.get(name).map(|inner| self.of(inner)).unwrap_or_default()
    }

    fn named(&self, name: &str) -> Json {
        match name {
            "string" => json!({"type": "string"}),
            "boolean" => json!({"type": "boolean"}),
            "int" => json!({"type": "integer", "format": "int32", "minimum": i32::MIN, "maximum": i32::MAX}),
            "long" => json!({"type": "integer", "format": "int64", "minimum": i64::MIN, "maximum": i64::MAX}),
            "float" | "double" => json!({"type": "number"}),
            "null" => json!({"type": "null"}),
            name => self.0.get(name.rsplit('.').next().unwrap_or(name)).cloned().unwrap_or_else(|| json!({})),
        }
    }

    fn union(&mut self, branches: &[Json]) -> Json {
        let branches: Vec<Json> = branches.iter().map(|branch| self.of(branch)).collect();
        json!({"anyOf": branches})
    }

    /// A field without default must be there; others may be missing, and further ones are refused.
    fn record(&mut self, avro: &Json) -> Json {
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for field in avro.get("fields").and_then(Json::as_array).into_iter().flatten() {
            let name = text(field, "name");
            let mut property = self.inner(field, "type");
            if let Some(property) = property.as_object_mut() {
                property.insert("description".to_owned(), text(field, "doc").into());
                property.extend(field.get("default").map(|default| ("default".to_owned(), default.clone())));
            }
            if field.get("default").is_none() {
                required.push(name);
            }
            properties.insert(name.to_owned(), property);
        }
        let record = json!({
            "type": "object", "description": text(avro, "doc"), "properties": properties, "required": required,
            "additionalProperties": false,
        });
        self.0.insert(text(avro, "name").to_owned(), record.clone());
        record
    }
}

fn text<'j>(json: &'j Json, name: &str) -> &'j str {
    json.get(name).and_then(Json::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_without_default_is_required_and_lists_have_their_records() {
        let definition = millrace_schemas::definition("PlaceOrder").unwrap();
        let schema = schema(definition.avsc).unwrap();
        let at = |pointer: &str| schema.pointer(pointer).cloned().unwrap_or_default();
        assert!(at("/required").as_array().unwrap().contains(&json!("lines")));
        assert_eq!(at("/properties/placed_at/format"), "date-time");
        assert_eq!(at("/properties/lines/items/properties/quantity/type"), "integer");
        assert_eq!(at("/properties/lines/items/properties/discount_bp/default"), 0);
        assert_eq!(at("/additionalProperties"), false);
    }

    #[test]
    fn every_command_has_a_schema_without_gaps() {
        for definition in millrace_schemas::DEFINITIONS {
            let schema = schema(definition.avsc).unwrap().to_string();
            assert!(!schema.contains(":{}"), "{}: {schema}", definition.name);
        }
    }
}
