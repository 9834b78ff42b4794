//! What an author of a saga writes, and what the engine gives in return.

use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_schemas::{Command, CommandRejected, Event};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Recorded;

/// A process that spans contexts: it reacts to events, rejections and timers, and sends commands.
///
/// The engine guarantees: an instance is shown each event, rejection and timer at most once, and never two at a time;
/// the events of one stream in their order; of the events and rejections that a command led to only the first, unless it
/// was sent with [`tell`](Step::tell). State, commands, timers and the offset are committed together. A command's id
/// depends only on the saga, the instance, its type and how many of that type were sent before. Between *different*
/// streams there is no order, but what a command led to comes after it.
///
/// In return [`react`](Saga::react) is pure, and total: no argument panics.
pub trait Saga: Send + Sync + 'static {
    /// Name of the consumer group, such as `fulfilment`.
    const NAME: &'static str;
    /// The contexts whose events and rejections it reacts to.
    const CONTEXTS: &'static [&'static str];
    /// The contexts that its commands go to. An instance that lacks one of these or of the others does not run the saga.
    const SENDS_TO: &'static [&'static str];
    /// Raise it when the stored form of [`State`](Saga::State) changes, and say in [`upcast`](Saga::upcast) how an older
    /// one is read.
    const STATE_VERSION: i32;
    /// The timers that it sets, and after how long each is due when the configuration says nothing else. One that is due at
    /// a time of the calendar is not among them.
    const TIMERS: &'static [(&'static str, Duration)];
    /// The names of all standings, in the order in which an instance comes to them.
    const STANDINGS: &'static [&'static str];
    /// Where an instance stands: an enum with a type for each state, so that only its own transitions can be written.
    type State: Clone + Send + Sync + Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + 'static;

    /// The instance that an event or a rejection is about; `None` when it is not this saga's business.
    fn instance(input: &Input<'_>) -> Option<String>;

    /// What follows; `state` is `None` before the instance's first step.
    fn react(state: Option<Self::State>, input: &Input<'_>) -> Reaction<Self::State>;

    /// What the instance waits for: a timer that is due while its answer is on its way is put off.
    fn awaits(state: &Self::State) -> Vec<Awaited>;

    /// Where the instance stands, for people, and whether it has come to its end.
    fn standing(state: &Self::State) -> Standing;

    /// Makes the stored form of the next version from that of `version`, once for each version that is missing.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn upcast(version: i32, _stored: serde_json::Value) -> Result<serde_json::Value, String> {
        Err(format!("no version {version} of this saga's state was ever written"))
    }
}

/// A stored state of an older version in the form of this build's, through each version between them.
///
/// # Errors
/// As [`Saga::upcast`].
pub fn raised<S: Saga>(version: i32, stored: serde_json::Value) -> Result<serde_json::Value, String> {
    (version..S::STATE_VERSION).try_fold(stored, |stored, version| S::upcast(version, stored))
}

/// What a saga reacts to.
#[derive(Debug, Clone, Copy)]
pub enum Input<'i> {
    /// Something happened.
    Event(&'i Recorded<Event>),
    /// A command was refused.
    Rejection(&'i CommandRejected),
    /// A timer is due, and the time of the database's clock at which it fires.
    Timer(&'i str, DateTime<Utc>),
    /// An operator wants the instance to come to its end, and says why.
    Cancel(&'i str),
}

/// Something that an instance waits for and that Postgres knows of before Kafka brings it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// The context of a stream.
    pub context: &'static str,
    /// The stream's id.
    pub stream: String,
    /// The last version that the instance has received; a later one is on its way.
    pub version: i64,
}

/// Where an instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Such as `paying`.
    pub name: &'static str,
    /// Whether nothing more is awaited. An instance that has come to its end still receives what happens later.
    pub ended: bool,
}

/// What follows from an input.
#[derive(Debug, Clone, PartialEq)]
pub enum Reaction<S> {
    /// Nothing: it does not matter here.
    Ignore,
    /// A step.
    Step(Step<S>),
    /// It cannot have happened to an instance that stands where this one does: a fault that says why, until an operator has
    /// looked at it.
    Impossible(String),
}

/// One step of an instance: its new state, and what goes out with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step<S> {
    /// The new state.
    pub state: S,
    /// Commands, in order.
    pub sends: Vec<Sent>,
    /// Timers, in order.
    pub timers: Vec<Timer>,
}

/// A command that a step sends.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// What is asked for.
    pub command: Command,
    /// Whether the instance waits for what comes of it.
    pub awaited: bool,
}

/// What a step does to a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// It is due after its time, by the database's clock; one that is set already is set anew.
    Set(&'static str),
    /// It is due at this time of the calendar, by the database's clock; at once, if that is past. One that is set already
    /// is set anew.
    SetAt(&'static str, DateTime<Utc>),
    /// It is not needed any more.
    Cancel(&'static str),
}

impl Timer {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Timer::Set(name) | Timer::SetAt(name, _) | Timer::Cancel(name) => name,
        }
    }
}

impl<S> Step<S> {
    /// A step to a state.
    pub fn to(state: impl Into<S>) -> Self {
        Self { state: state.into(), sends: Vec::new(), timers: Vec::new() }
    }

    /// Sends a command and waits for what comes of it.
    #[must_use]
    pub fn send(mut self, command: impl Into<Command>) -> Self {
        self.sends.push(Sent { command: command.into(), awaited: true });
        self
    }

    /// Sends a command whatever comes of it.
    #[must_use]
    pub fn tell(mut self, command: impl Into<Command>) -> Self {
        self.sends.push(Sent { command: command.into(), awaited: false });
        self
    }

    /// Sets a timer of [`TIMERS`](Saga::TIMERS).
    #[must_use]
    pub fn set(mut self, timer: &'static str) -> Self {
        self.timers.push(Timer::Set(timer));
        self
    }

    /// Sets a timer that is due at a time of the calendar: until then the instance is at rest.
    #[must_use]
    pub fn set_at(mut self, timer: &'static str, due: DateTime<Utc>) -> Self {
        self.timers.push(Timer::SetAt(timer, due));
        self
    }

    /// Cancels a timer.
    #[must_use]
    pub fn cancel(mut self, timer: &'static str) -> Self {
        self.timers.push(Timer::Cancel(timer));
        self
    }
}

impl<S> From<Step<S>> for Reaction<S> {
    fn from(step: Step<S>) -> Self {
        Self::Step(step)
    }
}
