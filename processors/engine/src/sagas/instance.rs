//! One instance and its reaction to inputs: pure.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use millrace_domain::{Reaction, Saga, Sent, Step, Timer};
use uuid::Uuid;

use super::input::Received;
use crate::error::Fault;
use crate::outbox::{self, Cause, OutboxRow, SchemaIds};

/// The UUID namespace of the ids of all commands that sagas send.
const DERIVED: Uuid = Uuid::from_u128(0x6d69_6c6c_7261_6365_8000_0000_0000_0002);

/// An instance with its current state, and its new steps.
pub(super) struct Instance<S: Saga> {
    pub(super) name: String,
    /// Whether it has a row.
    pub(super) stored: bool,
    /// Steps taken.
    pub(super) version: i64,
    /// The state, or why it cannot be read.
    pub(super) state: Result<Option<S::State>, Fault>,
    /// The commands whose outcome it waits for, with their types.
    pub(super) awaiting: BTreeMap<Uuid, String>,
    /// The number of commands that it has sent, by type.
    pub(super) sent: BTreeMap<String, u64>,
    pub(super) correlation_id: Option<String>,
    pub(super) traceparent: Option<String>,
    pub(super) steps: Vec<Taken>,
    pub(super) timers: BTreeMap<&'static str, Timer>,
    pub(super) outbox: Vec<OutboxRow>,
}

/// A step that was taken.
pub(super) struct Taken {
    pub(super) number: i64,
    /// The id of its input.
    pub(super) input_id: String,
    /// Its input, as a text for people.
    pub(super) input: String,
    /// The standing of the instance after it.
    pub(super) standing: &'static str,
    /// The commands that it sent: id and full name.
    pub(super) sent: Vec<(Uuid, &'static str)>,
}

/// The reaction of an instance to an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reacted {
    Step,
    /// The saga ignores it in this state.
    Ignored,
    /// The input, or another outcome of the same command, was received before.
    Before,
}

impl<S: Saga> Instance<S> {
    /// An instance without an input.
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            stored: false,
            version: 0,
            state: Ok(None),
            awaiting: BTreeMap::new(),
            sent: BTreeMap::new(),
            correlation_id: None,
            traceparent: None,
            steps: Vec::new(),
            timers: BTreeMap::new(),
            outbox: Vec::new(),
        }
    }

    /// Reacts to an input, unless it was received before.
    pub(super) fn react(&mut self, received: &Received, ids: &SchemaIds) -> Result<Reacted, Fault> {
        let again = self.steps.iter().any(|step| step.input_id == received.id);
        let state = self.state.clone()?;
        let command = received.command().filter(|id| self.has_sent(*id) && received.is_by_our_command(*id));
        let answers = command.is_some_and(|id| self.awaiting.contains_key(&id));
        if again || (command.is_some() || received.must_be_an_answer()) && !answers {
            return Ok(Reacted::Before);
        }
        match S::react(state, &received.input()) {
            Reaction::Ignore => Ok(Reacted::Ignored),
            Reaction::Impossible(why) => Err(Fault::new("impossible", why)),
            Reaction::Step(step) => self.take(received, command, step, ids).map(|()| Reacted::Step),
        }
    }

    fn has_sent(&self, id: Uuid) -> bool {
        let mut types = self.sent.iter();
        types.any(|(name, count)| (0..*count).any(|number| self.command_id(name, number) == id))
    }

    /// The id of a command, which is the same at every attempt: made from saga, instance, type, and the number of earlier commands of
    /// the type.
    fn command_id(&self, full_name: &str, number: u64) -> Uuid {
        let name = [S::NAME, &self.name, full_name, &number.to_string()].join("\0");
        Uuid::new_v5(&DERIVED, name.as_bytes())
    }

    /// Takes a step. Encodes every command first, so that a fault does not change the instance.
    fn take(
        &mut self,
        received: &Received,
        answered: Option<Uuid>,
        step: Step<S::State>,
        ids: &SchemaIds,
    ) -> Result<(), Fault> {
        let (mut counts, mut rows) = (self.sent.clone(), Vec::new());
        let mut awaiting = self.awaiting.clone();
        awaiting.retain(|id, _| Some(*id) != answered);
        for Sent { command, awaited } in &step.sends {
            let full_name = command.full_name();
            let count = counts.entry(full_name.to_owned()).or_default();
            let id = self.command_id(full_name, *count);
            *count += 1;
            rows.push(outbox::command(ids, id, command, self.cause(received))?);
            awaiting.extend(awaited.then(|| (id, full_name.to_owned())));
        }
        self.correlation_id = self.correlation_id.take().or_else(|| received.correlation_id.clone());
        self.traceparent = self.traceparent.take().or_else(|| received.traceparent.clone());
        self.version += 1;
        self.steps.push(Taken {
            number: self.version,
            input_id: received.id.clone(),
            input: received.text(),
            standing: S::standing(&step.state).name,
            sent: rows.iter().map(|row| (row.id, row.record_type)).collect(),
        });
        self.outbox.append(&mut rows);
        (self.sent, self.awaiting) = (counts, awaiting);
        self.timers.extend(step.timers.iter().map(|timer| (timer.name(), *timer)));
        self.state = Ok(Some(step.state));
        Ok(())
    }

    /// The cause of the commands of an input. Commands of a timer belong to the conversation of the instance's first input.
    fn cause(&self, received: &Received) -> Cause {
        let own = |given: &Option<String>, known: &Option<String>| given.clone().or_else(|| known.clone());
        Cause {
            id: received.id.clone(),
            correlation_id: own(&received.correlation_id, &self.correlation_id),
            traceparent: own(&received.traceparent, &self.traceparent),
            occurred_at: None,
        }
    }

    /// The timers that the new steps set, with the absolute time at which they are due if they have one, and the timers that they
    /// cancel.
    pub(super) fn timers(&self) -> (BTreeMap<&'static str, Option<DateTime<Utc>>>, BTreeSet<&'static str>) {
        let (mut set, mut cancelled) = (BTreeMap::new(), BTreeSet::new());
        for timer in self.timers.values() {
            match *timer {
                Timer::Set(name) => {
                    set.insert(name, None);
                }
                Timer::SetAt(name, due) => {
                    set.insert(name, Some(due));
                }
                Timer::Cancel(name) => {
                    cancelled.insert(name);
                }
            }
        }
        (set, cancelled)
    }
}
