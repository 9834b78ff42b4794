//! Golden records, decoded and folded by today's code.

use std::collections::BTreeMap;

use apache_avro::Schema;
use apache_avro::types::Value as Avro;
use millrace_domain::registry::Visitor;
use millrace_domain::{Context, Effect, Log, Saga, Tally, View};
use millrace_schemas::json::decode_json;
use millrace_schemas::{Kind, Message, WriterSchema};
use serde_json::Value;

use crate::record::{Golden, hexadecimal, read, released, write};
use crate::{AGAIN, released_of};

/// Compares every context's golden records with what they mean today.
pub(super) struct Contexts {
    /// Whether to write what is missing.
    pub(super) write: bool,
}

impl Visitor for Contexts {
    fn context<C: Context>(&mut self) {
        let (mut records, mut states) = (read(C::NAME), BTreeMap::new());
        assert_all_released(C::NAME, &records);
        for golden in &mut records {
            if self.write && golden.avro.is_none() {
                golden.avro = Some(hexadecimal(&encoded::<C>(golden)));
            }
            assert_filled(C::NAME, golden);
            let (event, state) = meaning::<C>(golden, &mut states);
            if self.write {
                golden.event.get_or_insert_with(|| event.clone());
                golden.state.get_or_insert_with(|| state.clone());
            }
            assert_means::<C>(golden, &event, &state);
        }
        if self.write {
            write(C::NAME, &records);
        }
    }

    fn view<V: View>(&mut self) {}

    fn tally<T: Tally>(&mut self) {}

    fn log<L: Log>(&mut self) {}

    fn saga<S: Saga>(&mut self) {}

    fn effect<E: Effect>(&mut self) {}
}

fn assert_all_released(context: &str, records: &[Golden]) {
    let mut missing = released_of(context, Kind::Event);
    missing.retain(|event| !records.iter().any(|golden| golden.record == *event));
    assert!(missing.is_empty(), "add {missing:?} with their events to golden/{context}.json, then {AGAIN}");
}

/// A field that is lost shows: no value is one that a missing field would have too.
fn assert_filled(context: &str, golden: &Golden) {
    let written = decode_json(&released(context, &golden.record), &golden.bytes()).expect("a body");
    assert!(is_filled(&written), "{context}: {} has a field like a default: {written}", golden.record);
}

fn is_filled(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty() && items.iter().all(is_filled),
        Value::Object(fields) => fields.values().all(is_filled),
    }
}

/// What a record says today, and its stream's state behind it.
fn meaning<C: Context>(golden: &Golden, states: &mut BTreeMap<String, C::State>) -> (Value, Value) {
    let writer = WriterSchema::parse(&released(C::NAME, &golden.record)).expect("a released schema");
    let event = C::Event::decode(&writer, &golden.bytes())
        .unwrap_or_else(|error| panic!("{}: {}: {error}", C::NAME, golden.record));
    let state = C::evolve(states.remove(event.key()), &event)
        .unwrap_or_else(|| panic!("{}: {} cannot have happened", C::NAME, golden.record));
    let stored = json(&state);
    assert_eq!(serde_json::from_value::<C::State>(stored.clone()).ok().as_ref(), Some(&state), "{stored}");
    states.insert(event.key().to_owned(), state);
    (json(&event), stored)
}

fn assert_means<C: Context>(golden: &Golden, event: &Value, state: &Value) {
    let of = format!("{}: {}", C::NAME, golden.record);
    assert!(golden.event.is_some() && golden.state.is_some(), "{of} has no meaning yet: {AGAIN}");
    assert_eq!(golden.event.as_ref(), Some(event), "{of}: what it says");
    assert_eq!(golden.state.as_ref(), Some(state), "{of}: the state behind it");
}

/// The bytes that a build with the released schema would have written.
fn encoded<C: Context>(golden: &Golden) -> Vec<u8> {
    let schema = Schema::parse_str(&released(C::NAME, &golden.record)).expect("a released schema");
    let event =
        golden.event.clone().unwrap_or_else(|| panic!("{} has neither bytes nor event", golden.record));
    let value = Avro::from(event).resolve(&schema).expect("the event fits its schema");
    apache_avro::to_avro_datum(&schema, value).expect("the event fits its schema")
}

fn json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).expect("it serialises")
}
