//! Makes the Rust types and the enums of every context from `avro/<context>/{commands,events}/*.avsc`,
//! so that a record type is written once, as its schema.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use rsgen_avro::{Generator, Source};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Record {
    context: String,
    kind: &'static str,
    name: String,
    key: String,
    doc: String,
    path: PathBuf,
    schema: String,
    /// The fields that are times, and whether they may be missing.
    times: Vec<(String, bool)>,
}

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=avro");
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("avro");
    let generator = Generator::builder().build()?;
    let mut out = String::new();
    let mut all = Vec::new();
    let (folders, files): (Vec<_>, Vec<_>) = sorted(&root)?.into_iter().partition(|path| path.is_dir());
    let contexts: Vec<String> = folders.iter().map(|path| file_name(path)).collect();
    for context in &contexts {
        let records = read_context(&root, context)?;
        write_context(&mut out, &generator, context, &records)?;
        all.extend(records);
    }
    for path in files {
        let kind = if file_name(&path) == "CommandOutcome.avsc" { "Outcome" } else { "Rejection" };
        let record = read_record("", kind, path)?;
        write_record(&mut out, &generator, &record)?;
        all.push(record);
    }
    write_union(&mut out, "Command", "Any command of any context.", &contexts);
    write_union(&mut out, "Event", "Any event of any context.", &contexts);
    write_definitions(&mut out, &contexts, &all);
    fs::write(Path::new(&std::env::var("OUT_DIR")?).join("records.rs"), out)?;
    Ok(())
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<std::io::Result<_>>()?;
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn read_context(root: &Path, context: &str) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for (folder, kind) in [("commands", "Command"), ("events", "Event")] {
        for path in sorted(&root.join(context).join(folder))? {
            records.push(read_record(context, kind, path)?);
        }
    }
    Ok(records)
}

fn read_record(context: &str, kind: &'static str, path: PathBuf) -> Result<Record> {
    let schema = fs::read_to_string(&path)?;
    let parsed: serde_json::Value = serde_json::from_str(&schema)?;
    let text = |field: &str| -> Result<String> {
        let value = parsed.get(field).and_then(|v| v.as_str());
        Ok(value.ok_or(format!("{}: `{field}` is missing", path.display()))?.to_owned())
    };
    let expected = namespace(context);
    if text("namespace")? != expected {
        return Err(format!("{}: the namespace must be {expected}", path.display()).into());
    }
    let (name, key, doc) = (text("name")?, text("key")?, text("doc")?);
    let times = times(parsed.get("fields"));
    Ok(Record { context: context.to_owned(), kind, name, key, doc, path, schema, times })
}

fn times(fields: Option<&serde_json::Value>) -> Vec<(String, bool)> {
    let is_time = |type_: &serde_json::Value| {
        type_.get("logicalType").and_then(|logical| logical.as_str()) == Some("timestamp-micros")
    };
    let time = |field: &serde_json::Value| {
        let (name, type_) = (field.get("name")?.as_str()?.to_owned(), field.get("type")?);
        let optional = type_.as_array().is_some_and(|branches| branches.iter().any(is_time));
        (optional || is_time(type_)).then_some((name, optional))
    };
    fields.and_then(|fields| fields.as_array()).into_iter().flatten().filter_map(time).collect()
}

fn namespace(context: &str) -> String {
    if context.is_empty() { "millrace".to_owned() } else { format!("millrace.{context}") }
}

fn write_record(out: &mut String, generator: &Generator, record: &Record) -> Result<()> {
    let mut code = Vec::new();
    generator.generate(&Source::SchemaStr(&record.schema), &mut code)?;
    out.push_str(&String::from_utf8(code)?);
    write_record_impl(out, record);
    Ok(())
}

fn write_context(out: &mut String, generator: &Generator, context: &str, records: &[Record]) -> Result<()> {
    writeln!(out, "/// Commands and events of the context `{context}`.\npub mod {context} {{")?;
    for record in records {
        write_record(out, generator, record)?;
    }
    for kind in ["Command", "Event"] {
        let of_kind: Vec<&Record> = records.iter().filter(|r| r.kind == kind).collect();
        write_enum(out, context, kind, &of_kind);
    }
    out.push_str("}\n");
    Ok(())
}

fn write_record_impl(out: &mut String, record: &Record) {
    let Record { context, name, key, path, times, .. } = record;
    let (path, namespace) = (path.display(), namespace(context));
    let within = |(field, optional): &(String, bool)| match optional {
        true => format!("self.{field}.is_none_or(|time| years.contains(&time))"),
        false => format!("years.contains(&self.{field})"),
    };
    let (years, within) = match times.as_slice() {
        [] => ("_", "true".to_owned()),
        times => ("years", times.iter().map(within).collect::<Vec<_>>().join(" && ")),
    };
    let _ = writeln!(
        out,
        "impl crate::AvroRecord for {name} {{
            const FULL_NAME: &'static str = \"{namespace}.{name}\";
            fn key(&self) -> &str {{ &self.{key} }}
            fn times_are_within(&self, {years}: &std::ops::RangeInclusive<i64>) -> bool {{ {within} }}
            fn schema() -> &'static crate::WriterSchema {{
                static SCHEMA: std::sync::LazyLock<crate::WriterSchema> =
                    std::sync::LazyLock::new(|| crate::WriterSchema::built_in(include_str!(\"{path}\")));
                &SCHEMA
            }}
        }}"
    );
}

fn write_enum(out: &mut String, context: &str, kind: &str, records: &[&Record]) {
    let _ = writeln!(
        out,
        "/// Any {} of the context `{context}`.
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        #[serde(untagged)]
        pub enum {kind} {{",
        kind.to_lowercase()
    );
    for Record { name, doc, .. } in records {
        let _ = writeln!(out, "    /// {doc}\n    {name}({name}),");
    }
    out.push_str("}\n");
    let arm = |pattern: &dyn Fn(&str) -> String| {
        records.iter().map(|r| pattern(&r.name)).collect::<Vec<_>>().join("\n")
    };
    let decode = arm(&|name| {
        format!("<{name} as crate::AvroRecord>::FULL_NAME => writer.decode(body).map({kind}::{name}),")
    });
    let encode = arm(&|name| format!("{kind}::{name}(record) => crate::encode_record(record),"));
    let full_name = arm(&|name| format!("{kind}::{name}(_) => <{name} as crate::AvroRecord>::FULL_NAME,"));
    let key = arm(&|name| format!("{kind}::{name}(record) => crate::AvroRecord::key(record),"));
    let times =
        arm(&|name| format!("{kind}::{name}(record) => crate::AvroRecord::times_are_within(record, years),"));
    let _ = writeln!(
        out,
        "impl crate::Message for {kind} {{
            const CONTEXT: &'static str = \"{context}\";
            fn decode(writer: &crate::WriterSchema, body: &[u8]) -> Result<Self, crate::CodecError> {{
                match writer.full_name() {{ {decode}
                    other => Err(crate::CodecError::UnknownType(other.to_owned())) }}
            }}
            fn encode(&self) -> Result<Vec<u8>, crate::CodecError> {{ match self {{ {encode} }} }}
            fn full_name(&self) -> &'static str {{ match self {{ {full_name} }} }}
            fn key(&self) -> &str {{ match self {{ {key} }} }}
            fn times_are_within(&self, years: &std::ops::RangeInclusive<i64>) -> bool {{ match self {{ {times} }} }}
        }}"
    );
    for Record { name, .. } in records {
        let _ = writeln!(
            out,
            "impl From<{name}> for {kind} {{ fn from(r: {name}) -> Self {{ {kind}::{name}(r) }} }}"
        );
    }
}

fn write_union(out: &mut String, kind: &str, doc: &str, contexts: &[String]) {
    let variants = contexts.iter().map(|context| {
        format!("/// Of the context `{context}`.\n{}({context}::{kind}),", capitalised(context))
    });
    let variants: String = variants.collect::<Vec<_>>().join("\n");
    let arm = |pattern: &dyn Fn(&str, &str) -> String| {
        contexts.iter().map(|c| pattern(&capitalised(c), c)).collect::<Vec<_>>().join("\n")
    };
    let decode = arm(&|variant, context| {
        format!(
            "\"{context}\" => <{context}::{kind} as Message>::decode(writer, body).map({kind}::{variant}),"
        )
    });
    let full_name = arm(&|variant, _| format!("{kind}::{variant}(inner) => inner.full_name(),"));
    let key = arm(&|variant, _| format!("{kind}::{variant}(inner) => inner.key(),"));
    let encode = arm(&|variant, _| format!("{kind}::{variant}(inner) => inner.encode(),"));
    let times = arm(&|variant, _| format!("{kind}::{variant}(inner) => inner.times_are_within(years),"));
    let from = contexts.iter().map(|context| {
        let variant = capitalised(context);
        format!(
            "impl From<{context}::{kind}> for {kind} {{ fn from(inner: {context}::{kind}) -> Self {{ {kind}::{variant}(inner) }} }}"
        )
    });
    let from: String = from.collect::<Vec<_>>().join("\n");
    let context = arm(&|variant, context| format!("{kind}::{variant}(_) => \"{context}\","));
    let _ = writeln!(
        out,
        "/// {doc}
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        #[serde(untagged)]
        pub enum {kind} {{ {variants} }}
        impl {kind} {{
            /// Decodes the body of a record that was written with the schema `writer`.
            ///
            /// # Errors
            /// When the type is unknown or the bytes do not fit the schema.
            pub fn decode(writer: &WriterSchema, body: &[u8]) -> Result<Self, CodecError> {{
                match writer.context() {{ {decode}
                    _ => Err(CodecError::UnknownType(writer.full_name().to_owned())) }}
            }}
            /// The record's body in this build's schema, without the frame.
            ///
            /// # Errors
            /// When a value does not fit its schema.
            pub fn encode(&self) -> Result<Vec<u8>, CodecError> {{ match self {{ {encode} }} }}
            /// The full name of the record's type.
            pub fn full_name(&self) -> &'static str {{ match self {{ {full_name} }} }}
            /// The record's Kafka key.
            pub fn key(&self) -> &str {{ match self {{ {key} }} }}
            /// Whether each time of the record, in microseconds since 1970, is in this range.
            pub fn times_are_within(&self, years: &std::ops::RangeInclusive<i64>) -> bool {{ match self {{ {times} }} }}
            /// The context that the record belongs to.
            pub fn context(&self) -> &'static str {{ match self {{ {context} }} }}
        }}
        {from}"
    );
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn write_definitions(out: &mut String, contexts: &[String], records: &[Record]) {
    let _ = writeln!(
        out,
        "/// The names of all contexts, in alphabetical order.\npub const CONTEXTS: &[&str] = &{contexts:?};"
    );
    out.push_str("/// Every record type of the contract, by context, commands first.\npub const DEFINITIONS: &[Definition] = &[\n");
    for Record { context, kind, name, key, path, .. } in records {
        let namespace = namespace(context);
        let _ = writeln!(
            out,
            "Definition {{ context: \"{context}\", kind: Kind::{kind}, name: \"{name}\", \
             full_name: \"{namespace}.{name}\", key: \"{key}\", avsc: include_str!(\"{}\") }},",
            path.display()
        );
    }
    out.push_str("];\n");
}
