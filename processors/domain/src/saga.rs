//! The interface of a saga: what its author implements, and what the engine guarantees.

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
    /// Raise it when the stored form of [`State`](Saga::State) changes, and convert an older one in [`upcast`](Saga::upcast).
    const STATE_VERSION: i32;
    /// The timers that it sets, with the default duration of each. A timer that is set to an absolute time is not listed.
    const TIMERS: &'static [(&'static str, Duration)];
    /// The names of all standings, in the order in which an instance reaches them.
    const STANDINGS: &'static [&'static str];
    /// The state of an instance: an enum with a type for each state, so that only valid transitions can be written.
    type State: Clone + Send + Sync + Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + 'static;

    /// The instance that an event or a rejection is about; `None` when it is not this saga's business.
    fn instance(input: &Input<'_>) -> Option<String>;

    /// The reaction to an input; `state` is `None` before the instance's first step.
    fn react(state: Option<Self::State>, input: &Input<'_>) -> Reaction<Self::State>;

    /// What the instance waits for: a timer that is due while an answer is already on its way is put off.
    fn awaits(state: &Self::State) -> Vec<Awaited>;

    /// The standing of an instance, and whether it has ended.
    fn standing(state: &Self::State) -> Standing;

    /// Makes the stored form of the next version from that of `version`, once for each version that is missing.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn upcast(version: i32, _stored: serde_json::Value) -> Result<serde_json::Value, String> {
        Err(format!("no version {version} of this saga's state was ever written"))
    }
}

/// Converts a stored state to this build's version, through each version in between.
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
    /// An operator cancels the instance, with the reason.
    Cancel(&'i str),
}

/// Something that an instance waits for, and that Postgres has before Kafka delivers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// The context of a stream.
    pub context: &'static str,
    /// The stream's id.
    pub stream: String,
    /// The last version that the instance has received; a later one is on its way.
    pub version: i64,
}

/// The standing of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The name, such as `paying`.
    pub name: &'static str,
    /// Whether the instance has ended. It still receives later inputs.
    pub ended: bool,
}

/// The reaction to an input.
#[derive(Debug, Clone, PartialEq)]
pub enum Reaction<S> {
    /// None: the input is ignored.
    Ignore,
    /// A step.
    Step(Step<S>),
    /// The input is impossible in this standing: a fault with this reason, for an operator.
    Impossible(String),
}

/// One step of an instance: its new state, commands and timers.
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
    /// The command.
    pub command: Command,
    /// Whether the instance waits for its outcome.
    pub awaited: bool,
}

/// What a step does to a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// Set it with its duration, by the database's clock; if it is set already, it is replaced.
    Set(&'static str),
    /// Set it to this absolute time, by the database's clock; it is due at once if that is past. If it is set already, it is
    /// replaced.
    SetAt(&'static str, DateTime<Utc>),
    /// Cancel it.
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

    /// Sends a command and waits for its outcome.
    #[must_use]
    pub fn send(mut self, command: impl Into<Command>) -> Self {
        self.sends.push(Sent { command: command.into(), awaited: true });
        self
    }

    /// Sends a command without waiting for its outcome.
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

    /// Sets a timer to an absolute time; until then the instance counts as idle, not as stuck.
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
