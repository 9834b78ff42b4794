//! The interface of a context: what its author implements, and what the engine guarantees.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use millrace_schemas::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::rules::{self, Checked};
use crate::{Refusal, Rejection};

/// One part of the business with its own streams, commands and events.
///
/// The engine guarantees: commands of one Kafka key are decided in their order; [`decide`](Context::decide) sees the
/// newest state of every stream that [`streams`](Context::streams) named and no other writer changes them until its
/// events are committed; all its events are written or none; and a command is decided once, however often it arrives.
///
/// In return every function is pure and total: the same arguments give the same result, and no argument panics.
pub trait Context: Send + Sync + 'static {
    /// Name in topics and tables, such as `orders`.
    const NAME: &'static str;
    /// Raise it when [`State`](Context::State) or [`evolve`](Context::evolve) changes: older stored states are folded
    /// again from the events.
    const STATE_VERSION: i32;
    /// Every way in which [`decide`](Context::decide) refuses a command. Tests of decisions fail at a code that is not here.
    const REFUSALS: &'static [Refusal];
    /// What a decision needs to know about one stream.
    type State: Clone + Send + Sync + Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + 'static;
    /// The commands of this context.
    type Command: Message;
    /// The events of this context.
    type Event: Message;
    /// The public state: what other contexts can read of a stream, such as a customer's name.
    type Public: Clone + Send + Sync + std::fmt::Debug + 'static;

    /// Every stream of this context that the decision reads or writes, each once. One decision may span several:
    /// it is atomic.
    fn streams(command: &Self::Command) -> Vec<String>;

    /// Streams of other contexts that must exist before the command can be decided.
    fn references(_command: &Self::Command) -> Vec<Reference> {
        Vec::new()
    }

    /// Further streams of other contexts that the decision reads where they exist: advice, since each is out of date at once.
    fn advice(_command: &Self::Command) -> Vec<Reference> {
        Vec::new()
    }

    /// Decides a command: the events that happen, in order, or why nothing happens.
    /// Events may be emitted only to streams that [`streams`](Context::streams) named.
    ///
    /// # Errors
    /// [`Rejection`]: a final business answer.
    fn decide(
        streams: &Streams<Self::State>,
        references: &References,
        command: &Self::Command,
    ) -> Result<Vec<Emitted<Self::Event>>, Rejection>;

    /// The state after an event; `None` is a stream without events. It cannot fail, since events are facts.
    fn evolve(state: Option<Self::State>, event: &Self::Event) -> Option<Self::State>;

    /// The public state of a stream.
    fn public(state: &Self::State) -> Self::Public;
}

/// A stream of another context.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// The other context's name.
    pub context: &'static str,
    /// The stream's id.
    pub id: String,
}

impl Reference {
    /// Names the stream `id` of the context `C`.
    pub fn to<C: Context>(id: impl Into<String>) -> Self {
        Self { context: C::NAME, id: id.into() }
    }
}

/// The states of the streams that a decision named.
#[derive(Debug, Clone)]
pub struct Streams<S>(BTreeMap<String, S>);

impl<S> Streams<S> {
    /// The state of a stream, or `None` when it has no events.
    pub fn get(&self, id: &str) -> Option<&S> {
        self.0.get(id)
    }
}

impl<S> FromIterator<(String, S)> for Streams<S> {
    fn from_iter<I: IntoIterator<Item = (String, S)>>(states: I) -> Self {
        Self(states.into_iter().collect())
    }
}

impl<S> IntoIterator for Streams<S> {
    type Item = (String, S);
    type IntoIter = std::collections::btree_map::IntoIter<String, S>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The public states of the streams of other contexts that a command refers to. Another context may change its
/// streams while this one decides: a rule on what may change answers as of now, and its refusal says what to do first.
#[derive(Debug, Default, Clone)]
pub struct References(HashMap<Reference, Referenced>);

/// A referenced stream: its state as JSON, and its public state once a command has asked for it. Many commands of a batch may refer to
/// one stream, whose state may be large.
#[derive(Debug, Clone)]
struct Referenced {
    state: String,
    /// A `C::Public`; `None` when the state cannot be read.
    public: OnceLock<Option<Arc<dyn Any + Send + Sync>>>,
}

impl Referenced {
    fn public<C: Context>(&self) -> Option<C::Public> {
        let read = || -> Option<Arc<dyn Any + Send + Sync>> {
            let state = serde_json::from_str::<C::State>(&self.state).ok()?;
            Some(Arc::new(C::public(&state)))
        };
        self.public.get_or_init(read).as_ref()?.downcast_ref::<C::Public>().cloned()
    }
}

impl References {
    /// The public state of the stream `id` of the context `C`; `None` when the command did not refer to it.
    pub fn get<C: Context>(&self, id: &str) -> Option<C::Public> {
        self.0.get(&Reference::to::<C>(id))?.public::<C>()
    }

    /// The public state of the stream `id` of the context `C`, which the decision needs. `missing` and `field` say how a
    /// command is refused that refers to none.
    ///
    /// # Errors
    /// [`Rejection`]: the stream does not exist. The engine loads every referenced stream or parks the command, so only a
    /// caller that does neither gets this answer.
    pub(crate) fn required<C: Context>(
        &self,
        missing: Refusal,
        field: &str,
        id: &str,
    ) -> Result<C::Public, Rejection> {
        self.get::<C>(id).ok_or_else(|| not_found(missing, field, id))
    }

    /// As [`required`](References::required), where nothing of the public state is needed.
    pub(crate) fn check<C: Context>(&self, missing: Refusal, field: &str, id: &str) -> Checked {
        if self.contains(&Reference::to::<C>(id)) { Ok(()) } else { Err(not_found(missing, field, id)) }
    }

    /// Whether the referenced stream exists.
    pub fn contains(&self, reference: &Reference) -> bool {
        self.0.contains_key(reference)
    }

    /// Adds the stored state (JSON) of a referenced stream.
    pub fn insert(&mut self, reference: Reference, state: String) {
        self.0.insert(reference, Referenced { state, public: OnceLock::new() });
    }
}

fn not_found(missing: Refusal, field: &str, id: &str) -> Rejection {
    let id = rules::quoted(id);
    missing.because(format!("{field} {id} does not exist: create it first, or correct the id"))
}

/// An event and the stream that it happens to.
#[derive(Debug, Clone, PartialEq)]
pub struct Emitted<E> {
    /// The stream's id.
    pub stream: String,
    /// What happened.
    pub event: E,
}

/// Emits an event to the stream that its key field names.
pub fn emit<E: Message>(event: impl Into<E>) -> Emitted<E> {
    let event = event.into();
    Emitted { stream: event.key().to_owned(), event }
}
