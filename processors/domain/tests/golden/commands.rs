//! Golden records of commands: what producers of any release have written is understood for ever.
//!
//! `commands/<context>.json` has a record of every released version of every command: its bytes, and the command as today's code
//! reads it. Producers keep an older schema for as long as they like.

use std::fs;
use std::path::PathBuf;

use apache_avro::Schema;
use apache_avro::schema::{RecordSchema, UnionSchema};
use apache_avro::types::Value as Avro;
use millrace_domain::registry::Visitor;
use millrace_domain::{Context, Effect, Log, Saga, Tally, View};
use millrace_schemas::{Kind, Message, WriterSchema};
use serde::Deserialize;
use serde_json::Value;

use crate::AGAIN;
use crate::record::{bytes, hexadecimal, released};
use crate::released_of;

/// A record that a producer once wrote, and what it means.
#[derive(Debug, Deserialize)]
struct Golden {
    /// Type and released version, such as `PlaceOrder/v1`.
    record: String,
    /// The body in hexadecimal digits.
    avro: String,
    /// The command, as today's type.
    command: Value,
}

/// Compares every context's golden commands with what they mean today.
pub(super) struct Commands {
    /// Whether to write what is missing.
    pub(super) write: bool,
}

impl Visitor for Commands {
    fn context<C: Context>(&mut self) {
        let mut goldens = read(C::NAME);
        let mut missing = released_of(C::NAME, Kind::Command);
        missing.retain(|record| !goldens.iter().any(|golden| golden.record == *record));
        assert!(self.write || missing.is_empty(), "{missing:?} have no golden record: {AGAIN}");
        goldens.extend(missing.into_iter().map(made::<C>));
        for Golden { record, avro, command } in &goldens {
            let found = meaning::<C>(record, &bytes(avro));
            assert_eq!(&found, command, "{}: {record}: what it says", C::NAME);
        }
        if self.write {
            write(C::NAME, &mut goldens);
        }
    }

    fn view<V: View>(&mut self) {}

    fn tally<T: Tally>(&mut self) {}

    fn log<L: Log>(&mut self) {}

    fn saga<S: Saga>(&mut self) {}

    fn effect<E: Effect>(&mut self) {}
}

/// A record with a value in every field, so that a field that is lost shows.
fn made<C: Context>(record: String) -> Golden {
    let schema = Schema::parse_str(&released(C::NAME, &record)).expect("a released schema");
    let body = apache_avro::to_avro_datum(&schema, filled(&schema, &record)).expect("a value that fits");
    let command = meaning::<C>(&record, &body);
    Golden { record, avro: hexadecimal(&body), command }
}

/// What a record says today.
fn meaning<C: Context>(record: &str, body: &[u8]) -> Value {
    let writer = WriterSchema::parse(&released(C::NAME, record)).expect("a released schema");
    let command = C::Command::decode(&writer, body).unwrap_or_else(|error| panic!("{record}: {error}"));
    serde_json::to_value(&command).expect("it serialises")
}

/// A value that is no default: texts have the name of their field.
fn filled(schema: &Schema, name: &str) -> Avro {
    match schema {
        Schema::String => Avro::String(name.to_owned()),
        Schema::Boolean => Avro::Boolean(true),
        Schema::Int => Avro::Int(7),
        Schema::Long => Avro::Long(77),
        Schema::TimestampMicros => Avro::TimestampMicros(1_700_000_000_123_456),
        Schema::Array(array) => Avro::Array(vec![filled(&array.items, name)]),
        Schema::Map(map) => Avro::Map([(name.to_owned(), filled(&map.types, name))].into()),
        Schema::Union(union) => chosen(union, name),
        Schema::Record(record) => fields(record),
        Schema::Enum(symbols) => {
            let last = symbols.symbols.len() - 1;
            Avro::Enum(u32::try_from(last).expect("a few"), symbols.symbols[last].clone())
        }
        other => panic!("{name}: which value has {other:?}?"),
    }
}

fn chosen(union: &UnionSchema, name: &str) -> Avro {
    let place = union.variants().iter().position(|variant| *variant != Schema::Null).expect("a value");
    Avro::Union(u32::try_from(place).expect("a few"), Box::new(filled(&union.variants()[place], name)))
}

fn fields(record: &RecordSchema) -> Avro {
    let fields = record.fields.iter().map(|field| (field.name.clone(), filled(&field.schema, &field.name)));
    Avro::Record(fields.collect())
}

fn file_of(context: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/commands/{context}.json"))
}

/// None of a context that has no file yet.
fn read(context: &str) -> Vec<Golden> {
    let Ok(text) = fs::read_to_string(file_of(context)) else { return Vec::new() };
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{context}: {error}"))
}

/// Short lines, so that a difference shows which of them changed.
fn write(context: &str, goldens: &mut [Golden]) {
    goldens.sort_by(|one, other| one.record.cmp(&other.record));
    let lines = goldens.iter().map(|Golden { record, avro, command }| {
        format!("{{\n\"record\": \"{record}\",\n\"avro\": \"{avro}\",\n\"command\": {command}\n}}")
    });
    let text = format!("[\n{}\n]\n", lines.collect::<Vec<_>>().join(",\n"));
    fs::create_dir_all(file_of(context).parent().expect("a folder")).expect("the folder");
    fs::write(file_of(context), text).expect("a file");
}
