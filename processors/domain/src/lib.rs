//! What the business decides, as data and pure functions.
//!
//! A **context** ([`Context`]) decides commands over its streams and emits events. A **view** folds events into rows
//! ([`View`]), sums ([`Tally`]) or documents ([`Log`]). Nothing here reads a clock, draws a random number or waits:
//! time and ids come in with the record. [`mod@registry`] lists every context and view once.

mod context;
pub mod contexts;
pub mod registry;
pub mod rules;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod view;
pub mod views;

pub use context::{Context, Emitted, Faces, Reference, Rejection, Streams, emit};
pub use view::{Log, Recorded, Tally, View};
