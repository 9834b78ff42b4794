//! What every fold makes of the golden records, as `views/<view>.json` has it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use chrono::{DateTime, TimeDelta};
use millrace_domain::registry::Visitor;
use millrace_domain::search::spellings;
use millrace_domain::{Context, Effect, Log, Recorded, Saga, Tally, View};
use millrace_schemas::{Event, WriterSchema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::AGAIN;
use crate::record::{read, released};

/// What a fold made of some records.
#[derive(Debug, PartialEq, Deserialize)]
struct Folded {
    /// Its number.
    fold: u32,
    /// How many golden records of each context it was shown; more may be there since.
    records: BTreeMap<String, usize>,
    rows: BTreeMap<String, Value>,
}

/// Compares what every fold makes of the golden records with what it made.
pub(super) struct Views {
    /// Whether to write what is missing.
    pub(super) write: bool,
}

impl Visitor for Views {
    fn context<C: Context>(&mut self) {}

    fn view<V: View>(&mut self) {
        self.check(V::NAME, V::FOLD, V::CONTEXTS, |events| {
            let mut rows = BTreeMap::new();
            for event in events {
                for key in V::keys(event) {
                    let row = V::evolve(rows.remove(&key).unwrap_or_default(), &key, event);
                    rows.insert(key, row);
                }
            }
            rows.into_iter().map(|(key, row)| (key, searched::<V>(json(&row)))).collect()
        });
    }

    fn tally<T: Tally>(&mut self) {
        self.check(T::NAME, T::FOLD, T::CONTEXTS, |events| {
            let mut sums: BTreeMap<T::Key, T::Amounts> = BTreeMap::new();
            for (key, amounts) in events.iter().flat_map(T::delta) {
                let sum = sums.remove(&key).unwrap_or_default();
                sums.insert(key, T::add(&sum, &amounts).expect("a sum"));
            }
            sums.into_iter().map(|(key, sum)| (json(&key).to_string(), json(&sum))).collect()
        });
    }

    fn log<L: Log>(&mut self) {
        self.check(L::NAME, L::FOLD, L::CONTEXTS, |events| {
            events
                .iter()
                .map(|event| (event.id.clone(), json(&L::document(event, json(&event.event)))))
                .collect()
        });
    }

    fn saga<S: Saga>(&mut self) {}

    fn effect<E: Effect>(&mut self) {}
}

impl Views {
    fn check(
        &self,
        view: &str,
        fold: u32,
        contexts: &[&str],
        folded: impl Fn(&[Recorded]) -> BTreeMap<String, Value>,
    ) {
        let of = |records: &BTreeMap<String, usize>| {
            let shown = records.iter().flat_map(|(context, count)| events(context, *count));
            Folded { fold, records: records.clone(), rows: folded(&shown.collect::<Vec<_>>()) }
        };
        let known = known(view);
        if let Some(known) = known.as_ref().filter(|known| known.fold == fold) {
            let why = format!("{view}: its fold has changed: `FOLD` gets the next number, then {AGAIN}");
            assert_eq!(known, &of(&known.records), "{why}");
        }
        let all = contexts.iter().map(|context| ((*context).to_owned(), read(context).len())).collect();
        let current = known.is_some_and(|known| known.fold == fold && known.records == all);
        if !current && self.write {
            write(view, &of(&all));
        }
        assert!(current || self.write, "{view}: its rows of fold {fold} are not written down: {AGAIN}");
    }
}

/// The first golden records of a context, in the streams of their keys.
fn events(context: &str, count: usize) -> Vec<Recorded> {
    let mut versions: BTreeMap<String, i64> = BTreeMap::new();
    let recorded = |(at, golden): (usize, crate::record::Golden)| {
        let writer = WriterSchema::parse(&released(context, &golden.record)).expect("a released schema");
        let event = Event::decode(&writer, &golden.bytes()).expect(&golden.record);
        let stream = event.key().to_owned();
        let version = versions.entry(stream.clone()).and_modify(|version| *version += 1).or_insert(1);
        Recorded {
            id: format!("{context}-{at}"),
            stream,
            version: *version,
            occurred_at: DateTime::UNIX_EPOCH + TimeDelta::hours(at.try_into().expect("a small number")),
            correlation_id: None,
            causation_id: None,
            traceparent: None,
            event,
        }
    };
    read(context).into_iter().take(count).enumerate().map(recorded).collect()
}

fn file_of(view: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/views/{view}.json"))
}

fn known(view: &str) -> Option<Folded> {
    let text = fs::read_to_string(file_of(view)).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{view}: {error}")))
}

/// A line for each row, so that a difference shows which of them changed.
fn write(view: &str, Folded { fold, records, rows }: &Folded) {
    let row = |(key, row): (&String, &Value)| format!("{}: {row}", Value::from(key.as_str()));
    let rows: Vec<String> = rows.iter().map(row).collect();
    let text = format!(
        "{{\n\"fold\": {fold},\n\"records\": {},\n\"rows\": {{\n{}\n}}\n}}\n",
        json!(records),
        rows.join(",\n")
    );
    fs::write(file_of(view), text).expect("a file");
}

/// A row with what its document is found by.
fn searched<V: View>(mut row: Value) -> Value {
    let fields = row.as_object_mut().expect("a row has fields");
    if !V::SEARCH.is_empty() {
        fields.insert("search".to_owned(), json(&spellings(fields, V::SEARCH)));
    }
    row
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("it serialises")
}
