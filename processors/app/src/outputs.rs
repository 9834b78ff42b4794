//! Which command prints which document for programs: `docs/output.schema.json` is generated from this list and from the types.

use millrace_ops::{
    audit, dead_letters, doctor, receipts, replay, retries, sagas, segments, send, setup, status, trace,
    verify,
};

use crate::config::{explain, show};
use crate::dlq::settle;
use crate::output::Document;
use crate::{Usable, customer, outbox, prune, replay as view, saga, schema, stream};

/// A type that is not here cannot be printed.
macro_rules! documents {
    ($($document:ty: $($line:literal),+;)+) => {
        $(impl Document for $document {})+

        /// Each command line with the schema of its document.
        #[cfg(test)]
        fn documents(generator: &mut schemars::SchemaGenerator) -> Vec<(&'static str, schemars::Schema)> {
            vec![$($(($line, generator.subschema_for::<$document>()),)+)+]
        }
    };
}

documents! {
    Vec<setup::Step>: "setup", "setup --dry-run", "teardown";
    status::Document<'_>: "status";
    Vec<doctor::Finding>: "doctor";
    send::Sent: "send", "category rename";
    Vec<schema::Contract>: "schema list";
    schema::Contract: "schema show";
    send::Checked: "schema check";
    Vec<receipts::Receipt>: "receipt", "commands";
    stream::Document: "stream show";
    trace::Trace: "trace";
    customer::Known: "customer show";
    segments::Audience: "segment preview";
    Vec<sagas::Instance>: "saga list";
    sagas::Shown: "saga show";
    saga::Cancelled: "saga cancel";
    view::Rebuild: "replay";
    replay::generations::Generation: "replay --execute";
    Vec<replay::generations::Generation>: "replay --status";
    view::RolledBack: "replay --rollback";
    view::Retired: "replay --retire";
    verify::report::Report: "verify";
    prune::Removed: "prune";
    prune::WouldRemove: "prune --dry-run";
    Vec<retries::Waiting>: "retries list";
    Vec<dead_letters::Letter>: "dlq list", "dlq discard --dry-run";
    dead_letters::Shown: "dlq show";
    settle::Redriven<'_>: "dlq redrive";
    Vec<dead_letters::Preview>: "dlq redrive --dry-run";
    settle::Discarded<'_>: "dlq discard";
    Vec<audit::Entry>: "audit list";
    outbox::Document<'_>: "outbox skip", "outbox skip --dry-run";
    Vec<show::Setting<'_>>: "config show";
    Vec<explain::Explanation<'_>>: "config explain";
    Usable: "config check";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use clap::CommandFactory as _;
    use schemars::Schema;
    use schemars::generate::SchemaSettings;
    use schemars::transform::RecursiveTransform;
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::Cli;

    const AGAIN: &str = "MILLRACE_WRITE_PAGES=1 cargo test -p millrace --lib outputs";

    /// Commands without a document.
    const NONE: [(&str, &str); 2] = [
        ("run", "it logs, in the format of `logging.format`"),
        ("schema example", "it prints lines for `millrace send`, which are JSON in either format"),
    ];

    fn schema() -> Value {
        let settings = SchemaSettings::draft2020_12().for_serialize();
        let mut generator = settings.with_transform(RecursiveTransform(for_readers)).into_generator();
        let documents: BTreeMap<&str, Value> =
            documents(&mut generator).into_iter().map(|(line, schema)| (line, schema.to_value())).collect();
        let types: BTreeMap<String, Value> = generator.take_definitions(true).into_iter().collect();
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "What `millrace` prints with `--format json`",
            "description": "Each property is a command line without its arguments, and its schema is that of the document that the \
                command prints: `#/properties/dlq%20list`. `run` and `schema example` print none. A command that fails may have \
                printed its document, or none; failure.schema.json has the failure.",
            "$comment": format!("Generated from the types that are printed by `{AGAIN}`."),
            "type": "object",
            "properties": documents,
            "$defs": types,
        })
    }

    /// Comments of the code speak of `None` and break their lines; defaults are those of what is read.
    fn for_readers(schema: &mut Schema) {
        schema.remove("default");
        if let Some(Value::String(text)) = schema.get_mut("description") {
            *text = text.replace("`None`", "`null`").replace("[`", "`").replace("`]", "`").replace('\n', " ");
        }
    }

    fn file() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/output.schema.json")
    }

    #[test]
    fn the_schema_says_what_the_types_say() {
        let schema = format!("{:#}\n", schema());
        if std::env::var_os("MILLRACE_WRITE_PAGES").is_some() {
            std::fs::write(file(), &schema).unwrap();
        }
        assert!(
            std::fs::read_to_string(file()).is_ok_and(|found| found == schema),
            "not up to date: {AGAIN}"
        );
    }

    /// The command lines of all commands without subcommands; the roles of `run` are arguments of it.
    fn commands() -> Vec<(String, clap::Command)> {
        let (mut open, mut found) = (vec![(String::new(), Cli::command())], Vec::new());
        while let Some((line, command)) = open.pop() {
            if command.get_subcommands().next().is_none() || line == "run" {
                found.push((line, command));
                continue;
            }
            let inner = command.get_subcommands().cloned();
            open.extend(inner.map(|inner| (format!("{line} {}", inner.get_name()).trim().to_owned(), inner)));
        }
        found
    }

    #[test]
    fn every_command_is_in_the_schema_or_prints_no_document() {
        let schema = schema();
        let lines = schema["properties"].as_object().unwrap();
        for (line, _) in commands() {
            let is_none = NONE.iter().any(|(none, _)| *none == line);
            assert!(lines.contains_key(&line) != is_none, "{line}");
        }
    }

    #[test]
    fn every_command_line_of_the_schema_exists() {
        let (schema, commands) = (schema(), commands());
        for documented in schema["properties"].as_object().unwrap().keys() {
            let (line, option) = documented.split_once(" --").unwrap_or((documented, ""));
            let (_, command) = commands.iter().find(|(known, _)| known == line).expect(documented);
            let is_known =
                option.is_empty() || command.get_opts().any(|known| known.get_long() == Some(option));
            assert!(is_known, "{documented}");
        }
    }

    /// Types of one name would be told apart by a number, which says nothing.
    #[test]
    fn each_type_has_a_name_of_its_own_and_each_field_a_meaning() {
        let schema = schema();
        for (name, of) in schema["$defs"].as_object().unwrap() {
            assert!(!name.ends_with(|last: char| last.is_ascii_digit()) || name == "Customer360", "{name}");
            assert!(!name.contains("_for_"), "{name}");
            for (field, of) in of["properties"].as_object().into_iter().flatten() {
                let meaning = of["description"].as_str().unwrap_or_else(|| panic!("{name}.{field}: {of}"));
                assert!(!meaning.contains("::") && !meaning.contains("None"), "{name}.{field}: {meaning}");
            }
        }
    }
}
