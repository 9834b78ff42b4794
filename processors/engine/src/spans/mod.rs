//! Spans of OpenTelemetry: what came of one command, across groups and processes.
//!
//! Only records whose `traceparent` says that they are sampled have spans, and only while something takes them ([`take`]);
//! otherwise nothing is made. A span is recorded after the commit of its batch, so that an attempt that was rolled back leaves none.
//! Its id follows from the record and the group, so that what the batch writes into the outbox names it before it is recorded: the
//! header `traceparent` of an event or command is the context of the span in which it was written.

mod call;
mod context;
mod fold;
mod queue;
mod request;
mod span;
#[cfg(test)]
mod tests;
mod timer;
mod unacknowledged;

pub(crate) use call::Call;
pub use context::Context;
pub(crate) use fold::{continued, traced};
pub use queue::{Spans, dropped, exported, is_on, take};
pub use request::Request;
pub use span::{Kind, Moment, Span, Value};
pub(crate) use timer::Timer;
pub(crate) use unacknowledged::{acknowledged, given_back};
