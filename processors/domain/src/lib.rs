//! The business logic, as data and pure functions.
//!
//! A **context** ([`Context`]) decides commands over its streams and emits events. A **view** folds events into rows
//! ([`View`]), sums ([`Tally`]) or documents ([`Log`]). A **saga** ([`Saga`]) reacts to events with commands, an
//! **effect** ([`Effect`]) with calls to external systems. Nothing here reads a clock, draws a random number or waits:
//! time and ids come in with the record. [`mod@registry`] lists every context and view once. Rules of [`segments`] are judged
//! here, and compiled to SQL that others run.

mod context;
pub mod contexts;
pub mod dictionary;
mod effect;
pub mod effects;
mod refusal;
pub mod registry;
pub mod rules;
mod saga;
pub mod sagas;
pub mod search;
pub mod segments;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod view;
pub mod views;

pub use context::{Context, Emitted, Reference, References, Streams, emit};
pub use effect::{Effect, GaveUp};
pub use refusal::{Refusal, Rejection};
pub use saga::{Awaited, Input, Reaction, Saga, Sent, Standing, Step, Timer, raised};
pub use view::{Log, Recorded, Tally, View};
