//! The contract may grow but not break: today's schemas read everything that was ever released.
//!
//! `released/<full name>/v<n>.avsc` holds each version of each schema that was registered somewhere. A released file is
//! never changed or removed; a changed schema is added as the next version.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use apache_avro::Schema;
use apache_avro::schema_compatibility::SchemaCompatibility;
use millrace_schemas::{DEFINITIONS, Definition, WriterSchema};

fn folder(full_name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("released").join(full_name)
}

/// The released versions of a schema: 1, 2, 3, … without gaps.
fn released(full_name: &str) -> Vec<(PathBuf, String)> {
    let paths = (1..).map(|version| folder(full_name).join(format!("v{version}.avsc")));
    paths.map_while(|path| fs::read_to_string(&path).ok().map(|text| (path, text))).collect()
}

/// The JSON of a schema without its documentation, which may change freely.
fn essence(avsc: &str) -> serde_json::Value {
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(object) => {
                object.remove("doc");
                object.values_mut().for_each(strip);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
            _ => (),
        }
    }
    let mut value = serde_json::from_str(avsc).expect("a schema is JSON");
    strip(&mut value);
    value
}

/// What a change lacks, as a message with the way out.
fn objection(definition: &Definition, released: &[(PathBuf, String)]) -> Option<String> {
    let name = definition.full_name;
    let today = Schema::parse_str(definition.avsc).expect(name);
    for (path, text) in released {
        let before = Schema::parse_str(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if let Err(reason) = SchemaCompatibility::can_read(&before, &today) {
            return Some(format!(
                "{name} cannot read records written with {}: {reason}.\n  Give a new field a default, leave old types as they \
                 are, or make a new record type.",
                path.display()
            ));
        }
    }
    if released.iter().any(|(_, text)| essence(text) == essence(definition.avsc)) {
        return None;
    }
    let next = folder(name).join(format!("v{}.avsc", released.len() + 1));
    Some(format!("{name} changed (or is new) and is compatible: release it as {}", next.display()))
}

#[test]
fn every_definition_parses_both_ways() {
    for definition in DEFINITIONS {
        let schema = WriterSchema::parse(definition.avsc).expect(definition.full_name);
        assert_eq!(schema.full_name(), definition.full_name);
        assert_eq!(schema.context(), definition.context);
        Schema::parse_str(definition.avsc).expect(definition.full_name);
    }
}

#[test]
fn todays_schemas_read_everything_that_was_released() {
    let objections: Vec<String> =
        DEFINITIONS.iter().filter_map(|d| objection(d, &released(d.full_name))).collect();
    assert!(objections.is_empty(), "\n{}", objections.join("\n"));
}

#[test]
fn no_released_type_disappeared() {
    let names = fs::read_dir(folder("")).expect("schemas/released").map(|entry| entry.unwrap().file_name());
    for name in names {
        let name = name.to_string_lossy().into_owned();
        let known = DEFINITIONS.iter().any(|definition| definition.full_name == name);
        assert!(known, "{name} was released and is kept in Kafka for ever: put its schema back into avro/");
    }
}

#[test]
fn a_breaking_change_is_refused() {
    let definition = millrace_schemas::definition("CancelOrder").unwrap();
    let broken = definition
        .avsc
        .replace(r#"{"name": "reason", "type": "string""#, r#"{"name": "why", "type": "string""#);
    assert_ne!(broken, definition.avsc);
    let changed = Definition { avsc: Box::leak(broken.into_boxed_str()), ..*definition };
    let message = objection(&changed, &released(definition.full_name)).expect("is refused");
    assert!(message.contains("cannot read records"), "{message}");
}

#[test]
fn a_compatible_change_must_be_released() {
    let definition = millrace_schemas::definition("ConfirmOrder").unwrap();
    let grown = definition.avsc.replace(
        r#""fields": ["#,
        r#""fields": [{"name": "note", "type": ["null", "string"], "default": null},"#,
    );
    let changed = Definition { avsc: Box::leak(grown.into_boxed_str()), ..*definition };
    let message = objection(&changed, &released(definition.full_name)).expect("is refused");
    assert!(message.contains("release it as") && message.ends_with("v2.avsc"), "{message}");
}
