//! Given, when, then for sagas, time included.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_schemas::{Command, Event};
use serde_json::{Value, json};

use super::{assert_survives_storage, recorded, rejected};
use crate::{Input, Reaction, Saga, Step, Timer, raised};

/// An instance of a saga, with a clock that begins in 1970.
#[derive(Debug)]
pub struct Process<S: Saga> {
    state: Option<S::State>,
    timers: BTreeMap<&'static str, Duration>,
    now: Duration,
    sent: Vec<Command>,
}

/// Starts a test with an instance that has received nothing yet.
pub fn process<S: Saga>() -> Process<S> {
    Process { state: None, timers: BTreeMap::new(), now: Duration::ZERO, sent: Vec::new() }
}

/// An instance in each state of each version that was ever stored; the files are in the order of their versions, and hold
/// an object with every state under its name, null for one that has only that.
///
/// # Panics
/// When a version has no file, or the last one lacks a state.
pub fn golden_states<S: Saga>(files: &[&str], names: &[&str]) -> Vec<Process<S>> {
    let read = |file: &&str| serde_json::from_str::<serde_json::Map<String, Value>>(file).expect("JSON");
    let files: Vec<_> = files.iter().map(read).collect();
    let last = files.last().map(|states| states.keys().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(last.as_deref(), Some(names), "every state is in the newest file");
    let versions: Vec<i32> = (1..=S::STATE_VERSION).collect();
    assert_eq!(versions.len(), files.len(), "every version has a file");
    let all = versions.into_iter().zip(files);
    all.flat_map(|(version, states)| {
        states.into_iter().map(move |(name, state)| {
            let stored = if state.is_null() { Value::from(name) } else { json!({ name: state }) };
            process().stored(version, stored)
        })
    })
    .collect()
}

impl<S: Saga> Process<S> {
    /// Continues from a state that was stored in this version.
    fn stored(self, version: i32, state: Value) -> Self {
        let state = serde_json::from_value(raised::<S>(version, state).expect("a version that was written"));
        Self { state: Some(state.expect("the stored state is read")), ..self }
    }

    /// Something happens.
    #[must_use]
    pub fn receives(self, event: impl Into<Event>) -> Self {
        let recorded = recorded(&event.into(), 1);
        self.react(&Input::Event(&recorded))
    }

    /// A command that it has sent is refused.
    #[must_use]
    pub fn refused(self, command: impl Into<Command>, code: &str) -> Self {
        let rejection = rejected(&command.into(), code, code);
        self.react(&Input::Rejection(&rejection))
    }

    /// An operator cancels it.
    #[must_use]
    pub fn cancelled(self, why: &str) -> Self {
        self.react(&Input::Cancel(why))
    }

    /// Time passes: timers that are due then fire.
    #[must_use]
    pub fn waits(mut self, time: Duration) -> Self {
        self.now += time;
        while let Some(name) = self.timers.iter().find(|(_, due)| **due <= self.now).map(|(name, _)| *name) {
            self.timers.remove(name);
            let now = DateTime::UNIX_EPOCH + self.now;
            self = self.react(&Input::Timer(name, now));
        }
        self
    }

    /// Sets the clock to a time: timers that are due until then fire.
    ///
    /// # Panics
    /// When the clock is later already.
    #[must_use]
    pub fn becomes(self, time: DateTime<Utc>) -> Self {
        let since = (time - DateTime::UNIX_EPOCH).to_std().expect("a time after 1970");
        let left = since.checked_sub(self.now).expect("time goes forward");
        self.waits(left)
    }

    /// Asserts its standing, and that it has sent exactly these commands since the last assertion.
    #[track_caller]
    pub fn then<C: Into<Command>>(mut self, standing: &str, sent: impl IntoIterator<Item = C>) -> Self {
        let state = self.state.as_ref().expect("it has begun");
        assert_eq!(S::standing(state).name, standing, "{state:?}");
        let expected: Vec<Command> = sent.into_iter().map(Into::into).collect();
        assert_eq!(std::mem::take(&mut self.sent), expected);
        self
    }

    /// Asserts its standing, and that it has sent nothing since the last assertion.
    #[track_caller]
    pub fn then_nothing(self, standing: &str) -> Self {
        self.then::<Command>(standing, [])
    }

    /// Asserts that it has ended, and that no timer is set.
    #[track_caller]
    pub fn ended(self) {
        assert!(self.state.as_ref().is_some_and(|state| S::standing(state).ended), "{:?}", self.state);
        assert!(self.timers.is_empty(), "{:?}", self.timers);
    }

    /// Asserts that the event is impossible in its standing.
    #[track_caller]
    pub fn finds_impossible(self, event: impl Into<Event>) {
        let recorded = recorded(&event.into(), 1);
        let reaction = S::react(self.state, &Input::Event(&recorded));
        assert!(matches!(reaction, Reaction::Impossible(_)), "{reaction:?}");
    }

    /// Its standing.
    pub fn standing(&self) -> &'static str {
        self.state.as_ref().map_or("", |state| S::standing(state).name)
    }

    /// Its state as it is stored.
    pub fn json(&self) -> String {
        serde_json::to_string(&self.state).expect("states serialise")
    }

    fn react(mut self, input: &Input<'_>) -> Self {
        match S::react(self.state.clone(), input) {
            Reaction::Ignore => {}
            Reaction::Impossible(why) => assert_eq!(why, "", "possible"),
            Reaction::Step(Step { state, sends, timers }) => {
                assert_survives_storage(&state);
                let standing = S::standing(&state).name;
                assert!(S::STANDINGS.contains(&standing), "{standing} is not in STANDINGS of {}", S::NAME);
                self.state = Some(state);
                for sent in sends {
                    let context = sent.command.context();
                    assert!(S::SENDS_TO.contains(&context), "{context} is not in SENDS_TO of {}", S::NAME);
                    self.sent.push(sent.command);
                }
                for timer in timers {
                    self.apply(timer);
                }
            }
        }
        self
    }

    fn apply(&mut self, timer: Timer) {
        match timer {
            Timer::Cancel(name) => {
                self.timers.remove(name);
            }
            // Its clock begins in 1970; what is past is due now.
            Timer::SetAt(name, due) => {
                let due = (due - DateTime::UNIX_EPOCH).to_std().unwrap_or_default();
                self.timers.insert(name, due.max(self.now));
            }
            Timer::Set(name) => {
                let after = S::TIMERS.iter().find(|(known, _)| *known == name).expect("a timer of the saga");
                self.timers.insert(name, self.now + after.1);
            }
        }
    }
}
