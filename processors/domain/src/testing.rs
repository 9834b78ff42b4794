//! Given, when, then: helpers for tests of contexts and views.
#![allow(clippy::expect_used, reason = "a test that cannot go on should say so and stop")]

mod process;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_schemas::{Command, CommandRejected, Event, Message};

use crate::{Context, Emitted, Recorded, Reference, References, Rejection, Streams, Tally, View, emit};

pub use process::{Process, golden_states, process};

/// The past of a test: what happened to the streams, and what referenced streams show.
#[derive(Debug)]
pub struct Given<C: Context> {
    states: BTreeMap<String, C::State>,
    references: References,
    accepted: Vec<C::Event>,
}

/// Starts a test from events that have happened, each to the stream its key names.
pub fn given<C: Context>(events: impl IntoIterator<Item = C::Event>) -> Given<C> {
    let mut states: BTreeMap<String, C::State> = BTreeMap::new();
    for event in events {
        fold::<C>(&mut states, emit::<C::Event>(event));
    }
    Given { states, references: References::default(), accepted: Vec::new() }
}

fn fold<C: Context>(states: &mut BTreeMap<String, C::State>, Emitted { stream, event }: Emitted<C::Event>) {
    let state = C::evolve(states.remove(&stream), &event);
    states.extend(state.map(|state| (stream, state)));
}

impl<C: Context> Given<C> {
    /// Adds streams of another context that the command may refer to, by their events.
    pub fn and<O: Context>(mut self, events: impl IntoIterator<Item = O::Event>) -> Self {
        for (id, state) in given::<O>(events).states {
            let state = serde_json::to_string(&state).expect("states serialise");
            self.references.insert(Reference::to::<O>(id), state);
        }
        self
    }

    /// The command that arrives.
    pub fn when(self, command: impl Into<C::Command>) -> Decided<C> {
        let command = command.into();
        let named = C::streams(&command);
        let streams: Streams<C::State> = self
            .states
            .iter()
            .filter(|(id, _)| named.contains(id))
            .map(|(id, s)| (id.clone(), s.clone()))
            .collect();
        let outcome = C::decide(&streams, &self.references, &command);
        if let Err(rejection) = &outcome {
            assert_declared::<C>(rejection);
        }
        for emitted in outcome.iter().flatten() {
            assert!(named.contains(&emitted.stream), "emitted to a stream that was not named: {emitted:?}");
            assert_eq!(emitted.stream, emitted.event.key(), "the key of an event is its stream");
        }
        Decided { outcome }
    }

    /// Decides commands one after the other: the accepted ones happen, the others do not.
    /// Each new state must survive being stored.
    pub fn after(self, commands: impl IntoIterator<Item = C::Command>) -> Self {
        commands.into_iter().fold(self, Self::after_one)
    }

    fn after_one(mut self, command: C::Command) -> Self {
        let (states, references) = (self.states.clone(), self.references.clone());
        let decided = Self { states, references, accepted: Vec::new() }.when(command);
        for emitted in decided.outcome.into_iter().flatten() {
            let stream = emitted.stream.clone();
            self.accepted.push(emitted.event.clone());
            fold::<C>(&mut self.states, emitted);
            self.states.get(&stream).inspect(|state| assert_survives_storage(*state));
        }
        self
    }

    /// The events of the commands that [`after`](Self::after) accepted.
    pub fn accepted(&self) -> &[C::Event] {
        &self.accepted
    }

    /// The streams' states.
    pub fn states(&self) -> &BTreeMap<String, C::State> {
        &self.states
    }
}

/// Asserts that a rejection's code is among the context's refusals.
fn assert_declared<C: Context>(rejection: &Rejection) {
    let declared = C::REFUSALS.iter().any(|refusal| refusal.code == rejection.code);
    assert!(declared, "`{}` is not among the refusals of {}", rejection.code, C::NAME);
}

/// Asserts that a value survives JSON.
#[track_caller]
pub fn assert_survives_storage<T>(value: &T)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let json = serde_json::to_string(value).expect("it serialises");
    assert_eq!(serde_json::from_str::<T>(&json).as_ref().ok(), Some(value), "{json}");
}

/// The answer to a command.
#[derive(Debug)]
pub struct Decided<C: Context> {
    /// Events or a rejection.
    pub outcome: Result<Vec<Emitted<C::Event>>, Rejection>,
}

impl<C: Context> Decided<C>
where
    C::Event: PartialEq,
{
    /// Exactly these events happen, in this order.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = C::Event>) {
        let events: Vec<C::Event> =
            self.outcome.expect("the command is accepted").into_iter().map(|e| e.event).collect();
        assert_eq!(events, expected.into_iter().collect::<Vec<_>>());
    }

    /// The command is rejected with this code.
    #[track_caller]
    pub fn then_rejected(self, code: &str) {
        let rejection = self.outcome.expect_err("the command is rejected");
        assert_eq!(rejection.code, code, "{}", rejection.message);
    }
}

/// All merges of sequences that keep the order within each: the orders in which Kafka may deliver several streams.
pub fn interleavings<T: Clone>(sequences: &[Vec<T>]) -> Vec<Vec<T>> {
    if sequences.iter().all(Vec::is_empty) {
        return vec![Vec::new()];
    }
    let mut merged = Vec::new();
    for chosen in 0..sequences.len() {
        let mut rest = sequences.to_vec();
        let Some(first) = rest.get_mut(chosen).filter(|s| !s.is_empty()).map(|s| s.remove(0)) else {
            continue;
        };
        for tail in interleavings(&rest) {
            merged.push(std::iter::once(first.clone()).chain(tail).collect());
        }
    }
    merged
}

/// The rows of a view after events, by key. Each stream's events are its versions 1, 2, 3, …
pub fn fold_view<'a, V: View>(events: impl IntoIterator<Item = &'a Event>) -> BTreeMap<String, V::Row> {
    let mut rows: BTreeMap<String, V::Row> = BTreeMap::new();
    for recorded in in_versions(events) {
        for key in V::keys(&recorded) {
            let row = V::evolve(rows.remove(&key).unwrap_or_default(), &key, &recorded);
            rows.insert(key, row);
        }
    }
    rows
}

/// The events with metadata; the events of each stream have the versions 1, 2, 3, …
fn in_versions<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<Recorded> {
    let mut versions: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    let record = |event: &'a Event| {
        let version = versions.entry((event.context(), event.key())).or_default();
        *version += 1;
        recorded(event, *version)
    };
    events.into_iter().map(record).collect()
}

/// Owned texts, for the fields of records.
pub(crate) fn strings<const N: usize>(texts: [&str; N]) -> [String; N] {
    texts.map(str::to_owned)
}

/// The time of the event with this version in a test: this many seconds after 1970.
pub fn happened(version: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(version)
}

/// An event with metadata, for a test.
pub(crate) fn recorded(event: &Event, version: i64) -> Recorded {
    Recorded {
        id: format!("{}-{}-{version}", event.context(), event.key()),
        stream: event.key().to_owned(),
        version,
        occurred_at: happened(version),
        correlation_id: None,
        causation_id: None,
        traceparent: None,
        event: event.clone(),
    }
}

/// The rejection that the producer of a command receives.
pub(crate) fn rejected(command: &Command, code: &str, message: &str) -> CommandRejected {
    CommandRejected {
        stream: command.key().to_owned(),
        command_id: "1".to_owned(),
        command_source: "/millrace".to_owned(),
        command_type: command.full_name().to_owned(),
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

/// The sums of a tally after events, by key.
pub fn fold_tally<'a, T: Tally>(events: impl IntoIterator<Item = &'a Event>) -> BTreeMap<T::Key, T::Amounts> {
    let mut sums: BTreeMap<T::Key, T::Amounts> = BTreeMap::new();
    for (key, amounts) in in_versions(events).iter().flat_map(T::delta) {
        let sum = T::add(&sums.remove(&key).unwrap_or_default(), &amounts).expect("sums fit");
        sums.insert(key, sum);
    }
    sums
}

/// Asserts that the sums are the same in whatever order the events of several streams arrive.
#[track_caller]
pub fn assert_same_sums_in_any_order<T: Tally>(streams: &[Vec<Event>]) {
    let expected = fold_tally::<T>(streams.iter().flatten());
    for events in interleavings(streams) {
        assert_eq!(fold_tally::<T>(&events), expected, "{events:#?}");
    }
}

/// Asserts that the rows are the same in whatever order the events of several streams arrive, and returns them.
#[track_caller]
pub fn assert_same_rows_in_any_order<V: View>(streams: &[Vec<Event>]) -> BTreeMap<String, V::Row> {
    let expected = fold_view::<V>(streams.iter().flatten());
    for events in interleavings(streams) {
        assert_eq!(fold_view::<V>(&events), expected, "{events:#?}");
    }
    expected
}
