//! The part of JSON Schema (2020-12) that the schemas of rules and of Kibana's saved objects use. Another keyword fails the test.

use serde_json::{Map, Value};

/// A schema with its definitions.
pub(super) struct Schema(Value);

impl Schema {
    pub(super) fn new(text: &str) -> Self {
        Self(serde_json::from_str(text).expect("the schema is JSON"))
    }

    pub(super) fn accepts(&self, value: &Value) -> bool {
        self.fits(&self.0, value)
    }

    /// Whether a value fulfils every keyword.
    fn fits(&self, schema: &Value, value: &Value) -> bool {
        let keywords = schema.as_object().expect("a schema is an object");
        keywords.iter().all(|(keyword, wanted)| self.fulfils(keyword, wanted, keywords, value))
    }

    fn fulfils(&self, keyword: &str, wanted: &Value, all: &Map<String, Value>, value: &Value) -> bool {
        match keyword {
            "$schema" | "$defs" | "title" | "description" => true,
            "$ref" => self.fits(self.defined(wanted), value),
            "oneOf" => list(wanted).iter().filter(|schema| self.fits(schema, value)).count() == 1,
            "const" => value == wanted,
            "enum" => list(wanted).contains(value),
            "type" => is_of(wanted.as_str().expect("a type"), value),
            "required" => list(wanted).iter().all(|name| value.get(name.as_str().expect("a name")).is_some()),
            "properties" => self.properties(wanted, value),
            "additionalProperties" => self.additional(wanted, all, value),
            "items" => value.as_array().is_none_or(|items| items.iter().all(|item| self.fits(wanted, item))),
            "minItems" => value.as_array().is_none_or(|items| items.len() >= count(wanted)),
            "maxItems" => value.as_array().is_none_or(|items| items.len() <= count(wanted)),
            "minLength" => value.as_str().is_none_or(|text| text.chars().count() >= count(wanted)),
            "maxLength" => value.as_str().is_none_or(|text| text.chars().count() <= count(wanted)),
            "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().expect("a number")),
            "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().expect("a number")),
            "contentMediaType" => wanted == "application/json",
            "contentSchema" => value.as_str().is_none_or(|text| self.text_fits(wanted, text)),
            "pattern" => value.as_str().is_none_or(|text| matches(wanted.as_str().expect("a pattern"), text)),
            other => panic!("what does {other} mean?"),
        }
    }

    fn properties(&self, wanted: &Value, value: &Value) -> bool {
        let fits =
            |(name, schema): (&String, &Value)| value.get(name).is_none_or(|value| self.fits(schema, value));
        wanted.as_object().expect("properties").iter().all(fits)
    }

    /// The fields that `properties` does not name.
    fn additional(&self, wanted: &Value, all: &Map<String, Value>, value: &Value) -> bool {
        let known = |name: &str| all.get("properties").is_some_and(|known| known.get(name).is_some());
        let mut others = value.as_object().into_iter().flatten().filter(|(name, _)| !known(name));
        others.all(|(_, value)| wanted != false && self.fits(wanted, value))
    }

    /// JSON that is kept as text.
    fn text_fits(&self, wanted: &Value, text: &str) -> bool {
        serde_json::from_str(text).is_ok_and(|value| self.fits(wanted, &value))
    }

    fn defined(&self, reference: &Value) -> &Value {
        let pointer = reference.as_str().and_then(|text| text.strip_prefix('#')).expect("within this file");
        self.0.pointer(pointer).unwrap_or_else(|| panic!("{reference} is not defined"))
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("what is {other}?"),
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    match pattern {
        "^[A-Z]{3}$" => text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()),
        "^[^\\u0000-\\u001f\\u007f-\\u009f]*$" => !text.contains(char::is_control),
        other => panic!("what matches {other}?"),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn count(value: &Value) -> usize {
    usize::try_from(value.as_u64().expect("a number")).expect("a small number")
}
